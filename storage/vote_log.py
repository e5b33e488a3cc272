"""The log of votes as it is kept, for whoever proves, exports or recounts it."""

from collections.abc import Sequence

from domain.ids import MarketId, Wallet
from domain.tally import VoteType
from domain.votelog import Aggregation, LoggedVote
from storage import vote_rows
from storage.database import Database

PAGE_MAX = 5000
"""Rows of one answer: about 2 MB."""
FIRST = (0, "00000000-0000-0000-0000-000000000000")
"""Comes before every entry."""
LATEST = 2**63 - 1

Position = tuple[int, str]
"""(market_version, vote_id), the order of a log."""


class VoteLog:
    """Reads through the pool, each page a statement of its own; every call raises StorageUnavailable."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def entries(
        self,
        market_id: MarketId,
        vote_type: VoteType,
        after: Position | None = None,
        limit: int = PAGE_MAX,
        as_of: int = LATEST,
    ) -> Sequence[LoggedVote]:
        """Up to `limit` entries right after a position, in the order of the log, as market version `as_of` had them.

        Guarantee: all pages with one `as_of` that is committed fit together, whatever is voted meanwhile.
        """
        wanted = (market_id, vote_type.value, *(after or FIRST), as_of, min(limit, PAGE_MAX))
        return [vote_rows.logged_of(row) for row in await self._database.fetch("log_entries", *wanted)]

    async def late(
        self, market_id: MarketId, vote_type: VoteType, after: Position | None = None, limit: int = PAGE_MAX
    ) -> Sequence[LoggedVote]:
        """Up to `limit` votes that were seen too late, right after a position, in the order they would have had."""
        wanted = (market_id, vote_type.value, *(after or FIRST), min(limit, PAGE_MAX))
        return [vote_rows.logged_of(row) for row in await self._database.fetch("late_votes", *wanted)]

    async def find(self, market_id: MarketId, vote_id: str) -> LoggedVote | None:
        """A vote of this market by its id, whatever became of it; None when it is not kept here."""
        rows = await self._database.fetch("log_entry", market_id, vote_id)
        return vote_rows.logged_of(rows[0]) if rows else None

    async def of_wallet(self, market_id: MarketId, vote_type: VoteType, wallet: Wallet) -> LoggedVote | None:
        """The vote of a wallet that counts, None when there is none."""
        rows = await self._database.fetch("log_entry_of_wallet", market_id, wallet, vote_type.value)
        return vote_rows.logged_of(rows[0]) if rows else None

    async def aggregations(self, market_id: MarketId, after: int = 0, limit: int = PAGE_MAX) -> Sequence[Aggregation]:
        """Up to `limit` aggregations of a market whose number is greater than `after`, oldest first."""
        rows = await self._database.fetch("aggregations_of", market_id, after, min(limit, PAGE_MAX))
        return [vote_rows.aggregation_of(row) for row in rows]

    async def covering(
        self, market_id: MarketId, vote_type: VoteType, sequence: int, aggregation_id: str | None = None
    ) -> Aggregation | None:
        """The newest aggregation with a root over the entry at `sequence`, or the one of that id if it has one."""
        rows = await self._database.fetch("covering_aggregation", market_id, vote_type.value, sequence, aggregation_id)
        return vote_rows.aggregation_of(rows[0]) if rows else None
