"""The logs of votes in memory, as storage reads them back, for servers of tests."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import replace
from datetime import UTC, datetime

from domain.ids import MarketId, Wallet
from domain.journal import AlertNote
from domain.market import Market
from domain.tally import VoteType
from domain.votelog import Aggregation, Fate, LogEntry, LoggedVote

Place = tuple[int, str]


class VoteLogs:
    """All logs; `pages` counts what was read of them, and a test may alter what is kept.

    `turned` is awaited before a page of entries is read, with the place that the page comes after: a test that wants
    something to happen in the middle of a reading does it there, whatever else runs ahead.
    """

    def __init__(self) -> None:
        self.kept: list[LoggedVote] = []
        self.rows: list[Aggregation] = []
        self.pages = 0
        self.alerts: list[AlertNote] = []
        self.outage: Exception | None = None
        self.turned: Callable[[Place | None], Awaitable[None]] = _turned

    def put(self, entry: LogEntry, fate: Fate = Fate.COUNTED) -> LogEntry | None:
        """Keep a vote, in the place of its wallet's vote before if it counts; that one is returned."""
        before = [vote for vote in self.kept if _same_voter(vote, entry)] if fate is Fate.COUNTED else []
        for vote in before:
            self.kept[self.kept.index(vote)] = replace(vote, fate=Fate.SUPERSEDED, superseded_by=entry.vote_id)
        self.kept.append(LoggedVote(entry, fate))
        return before[0].entry if before else None

    def alter(self, vote_id: str) -> None:
        """Turn a stored vote around, as somebody with access to the database could."""
        (index,) = (at for at, vote in enumerate(self.kept) if vote.entry.vote_id == vote_id)
        vote = self.kept[index]
        self.kept[index] = replace(vote, entry=replace(vote.entry, choice=not vote.entry.choice))

    def publish(self, market: Market, vote_type: VoteType, **changes: object) -> Aggregation:
        """An aggregation of the market as it stands, as the plan of one would note it."""
        tally, log, number = market.tally(vote_type), market.log(vote_type), len(self.rows) + 1
        row = Aggregation(
            number=number,
            aggregation_id=f"00000000-0000-4000-8000-{number:012}",
            market_id=market.market_id,
            vote_type=vote_type,
            votes_size=log.size,
            votes_root=log.root().hex(),
            yes_votes=tally.yes,
            no_votes=tally.no,
            submitted_yes=tally.yes,
            submitted_no=tally.no,
            percentage_bps=tally.percentage_bps,
            threshold_bps=7000,
            threshold_met=tally.meets(7000),
            status="confirmed",
            reason="",
            transaction_signature=None,
            created_at=datetime.fromtimestamp(0, UTC),
        )
        self.rows.append(replace(row, **changes))  # type: ignore[arg-type]  # fields by name
        return self.rows[-1]

    async def raise_alert(self, note: AlertNote) -> None:
        if self.outage is not None:
            raise self.outage
        self.alerts.append(note)

    async def entries(
        self, market_id: MarketId, vote_type: VoteType, after: Place | None, limit: int, as_of: int
    ) -> Sequence[LoggedVote]:
        await self.turned(after)
        logged = [self._as_of(vote, as_of) for vote in self.kept if vote.fate is not Fate.LATE]
        return self._page((vote for vote in logged if vote.entry.market_version <= as_of), market_id, vote_type, after)[
            :limit
        ]

    async def late(
        self, market_id: MarketId, vote_type: VoteType, after: Place | None, limit: int
    ) -> Sequence[LoggedVote]:
        late = (vote for vote in self.kept if vote.fate is Fate.LATE)
        return self._page(late, market_id, vote_type, after)[:limit]

    async def find(self, market_id: MarketId, vote_id: str) -> LoggedVote | None:
        named = (vote for vote in self.kept if (vote.entry.market_id, vote.entry.vote_id) == (market_id, vote_id))
        return next(named, None)

    async def of_wallet(self, market_id: MarketId, vote_type: VoteType, wallet: Wallet) -> LoggedVote | None:
        voter = (market_id, vote_type, wallet)
        counted = (vote for vote in self.kept if vote.fate is Fate.COUNTED)
        return next((v for v in counted if (v.entry.market_id, v.entry.vote_type, v.entry.wallet) == voter), None)

    async def aggregations(self, market_id: MarketId, after: int, limit: int) -> Sequence[Aggregation]:
        return [row for row in self.rows if row.market_id == market_id and row.number > after][:limit]

    async def covering(
        self, market_id: MarketId, vote_type: VoteType, sequence: int, aggregation_id: str | None
    ) -> Aggregation | None:
        rows = [row for row in self.rows if (row.market_id, row.vote_type) == (market_id, vote_type)]
        rows = [row for row in rows if (row.votes_size or 0) >= sequence]
        return next((row for row in rows[::-1] if aggregation_id in (None, row.aggregation_id)), None)

    def _page(
        self, votes: Iterable[LoggedVote], market_id: MarketId, vote_type: VoteType, after: Place | None
    ) -> list[LoggedVote]:
        self.pages += 1
        if self.outage is not None:
            raise self.outage
        log = [vote for vote in votes if (vote.entry.market_id, vote.entry.vote_type) == (market_id, vote_type)]
        return sorted(
            (vote for vote in log if after is None or vote.entry.place > after), key=lambda vote: vote.entry.place
        )

    def _as_of(self, vote: LoggedVote, version: int) -> LoggedVote:
        """A vote that was superseded later than that still counted then."""
        successor = next((other for other in self.kept if other.entry.vote_id == vote.superseded_by), None)
        if successor is None or successor.entry.market_version <= version:
            return vote
        return replace(vote, fate=Fate.COUNTED, superseded_by=None)


async def _turned(after: Place | None) -> None:
    """Nothing happens between two pages."""


def _same_voter(vote: LoggedVote, entry: LogEntry) -> bool:
    mine = (vote.entry.market_id, vote.entry.vote_type, vote.entry.wallet)
    return vote.fate is Fate.COUNTED and mine == (entry.market_id, entry.vote_type, entry.wallet)
