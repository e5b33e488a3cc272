"""The journal's in-memory twin: the same promises without a server, for tests and for trying the actors out.

One `MemoryDatabase` is what PostgreSQL is to the real journal: several journals may share it, each its own session.
Transactions run one after the other, see their own writes, and leave nothing when they fail.
"""

import asyncio
import math
import uuid
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace

from domain.commands import CastVote, RecordChainVote
from domain.deadlines import WINDOWED, Deadline
from domain.feed import FeedMessage
from domain.ids import MarketId, virtual_shard
from domain.intents import ENDS, OPEN_STATUSES, Intent, Settlement
from domain.journal import (
    AggregationNote,
    AlertNote,
    Ballot,
    ChainBallot,
    Change,
    Epochs,
    Fenced,
    Merge,
    RecordedVote,
    Standing,
)
from domain.market import Market
from domain.observed import ChainConfig
from domain.tally import Tally, single
from domain.votelog import LogEntry, entry_of
from storage.fencing import check_distinct, check_fenced, check_versions, one_of_each_place
from storage.memory_tables import AggregationRow, Attempt, MemoryDatabase, MemorySession, Owner, Tables
from storage.outages import JournalLost, VirtualShardsHeld
from storage.ownership import ACQUIRE_TIMEOUT_S, POLL_S, is_alive
from storage.turn import Turn

_SETTLED_NOTES = ("confirmed", "failed", "skipped")


class MemoryJournal(MemorySession):
    """`actors.ports.Journal` over a `MemoryDatabase`."""

    def __init__(self, database: MemoryDatabase | None = None, acquire_timeout_s: float = ACQUIRE_TIMEOUT_S) -> None:
        super().__init__()
        self.database = database or MemoryDatabase()
        self._acquire_timeout_s = acquire_timeout_s
        self._turn = Turn()

    async def acquire(self, virtual_shards: Sequence[int], host: str, port: int, pid: int) -> dict[int, int]:
        """Lock the virtual shards and return their new epochs; raises VirtualShardsHeld."""
        async with self._session("acquire"):
            await self._lock(virtual_shards, host)
            for vshard in virtual_shards:
                epoch = self.database.owners.get(vshard, Owner()).epoch + 1
                self.database.owners[vshard] = Owner(epoch, host, port, pid)
            return self.database.epochs(virtual_shards)

    @asynccontextmanager
    async def transaction(self, epochs: Epochs) -> AsyncIterator["MemoryTransaction"]:
        """Begin, fence, commit on leaving; an exception of the body leaves nothing behind."""
        async with self._session("begin"), self.database.writing:
            self._fence(epochs)
            overlay = self.database.tables.overlaid()
            yield MemoryTransaction(overlay, epochs, self.database.now_s())
            self._check_session("commit")
            self._fence(epochs)
            self.database.tables.take_in(overlay)

    async def load(self, market_ids: Sequence[MarketId]) -> Sequence[tuple[Market, Deadline | None]]:
        """Those of the markets that exist, each with its stored deadline."""
        async with self._session("load_markets"):
            markets = self.database.tables.markets
            return [markets[market_id] for market_id in dict.fromkeys(market_ids) if market_id in markets]

    async def deadlines(self, virtual_shards: Sequence[int]) -> Sequence[tuple[MarketId, Deadline]]:
        """Every stored deadline of these virtual shards, earliest first."""
        async with self._session("deadlines"):
            found = [
                (market_id, deadline)
                for market_id, (_, deadline) in self.database.tables.markets.items()
                if deadline and virtual_shard(market_id) in virtual_shards
            ]
            return sorted(found, key=lambda pair: pair[1].at_s)

    async def windowed(self, virtual_shards: Sequence[int]) -> Sequence[MarketId]:
        """Markets of these virtual shards that end by the clock."""
        async with self._session("windowed_markets"):
            return [
                market_id
                for market_id, (market, _) in self.database.tables.markets.items()
                if market.state in WINDOWED and virtual_shard(market_id) in virtual_shards
            ]

    async def settlements(self, virtual_shards: Sequence[int], limit: int) -> Sequence[Settlement]:
        """Ended attempts that no market has taken in yet, oldest first."""
        async with self._session("settlements"):
            ended = [
                (attempt.settled, attempt)
                for attempt in self.database.tables.attempts.values()
                if attempt.settled and not attempt.applied and virtual_shard(attempt.intent.market_id) in virtual_shards
            ]
            return [_settlement(attempt) for _, attempt in sorted(ended, key=lambda pair: pair[0])[:limit]]

    async def config(self) -> ChainConfig | None:
        """The last GlobalConfig that was read, or None before the first."""
        async with self._session("chain_config"):
            return self.database.config

    async def announce_outbox(self) -> None:
        """Counted, for nobody listens here."""
        async with self._session("announce_outbox"):
            self.database.announcements += 1

    async def raise_alerts(self, notes: Sequence[AlertNote]) -> None:
        """Store alerts that no change of a market tells of."""
        async with self._session("raise_alerts"):
            for note in notes:
                self.database.tables.raise_alert(note)

    async def ping(self) -> None:
        """Raises JournalLost when the session has ended."""
        async with self._session("ping"):
            pass

    async def close(self) -> None:
        """End the session, which frees the locks."""
        self.database.end_session(self)

    @asynccontextmanager
    async def _session(self, operation: str) -> AsyncIterator[None]:
        async with self._turn:
            self._check_session(operation)
            yield

    def _check_session(self, operation: str) -> None:
        if self.lost:
            raise JournalLost(operation, "the session has ended")

    def _fence(self, epochs: Epochs) -> None:
        if (found := self.database.epochs(tuple(epochs))) != dict(epochs):
            raise Fenced(epochs, found)

    async def _lock(self, virtual_shards: Sequence[int], host: str) -> None:
        free_before = [vshard for vshard in virtual_shards if self.database.locks.get(vshard) is not self]
        for _ in range(math.ceil(self._acquire_timeout_s / POLL_S) + 1):
            held = self._try(virtual_shards, host)
            if not held:
                return
            await asyncio.sleep(POLL_S)
        for vshard in free_before:
            if self.database.locks.get(vshard) is self:
                del self.database.locks[vshard]
        owners = {vshard: self.database.owners.get(vshard, Owner()) for vshard in held}
        named = {vshard: f"{owner.host}:{owner.port} pid {owner.pid}" for vshard, owner in owners.items()}
        raise VirtualShardsHeld(named, self._acquire_timeout_s)

    def _try(self, virtual_shards: Sequence[int], host: str) -> list[int]:
        """Lock what is free or held by a dead process of this host; returns what is not."""
        for vshard in virtual_shards:
            holder, owner = self.database.locks.get(vshard), self.database.owners.get(vshard, Owner())
            if holder and holder is not self and owner.host == host and owner.pid and not is_alive(owner.pid):
                self.database.end_session(holder)
            self.database.locks.setdefault(vshard, self)
        return [vshard for vshard in virtual_shards if self.database.locks[vshard] is not self]


class MemoryTransaction:
    """`actors.ports.JournalTransaction` over an overlay of the tables."""

    def __init__(self, tables: Tables, epochs: Epochs, now_s: float) -> None:
        self._tables = tables
        self._epochs = epochs
        self._now_s = now_s

    async def insert_ballots(self, ballots: Sequence[Ballot]) -> frozenset[str]:
        """Insert what is new, by (wallet, request_id), and return the vote_ids that went in."""
        check_fenced((ballot.vote.market_id for ballot in ballots), self._epochs)
        ordered = sorted(ballots, key=lambda ballot: (ballot.vote.wallet, ballot.vote.request_id or ""))
        return frozenset(ballot.vote.vote_id for ballot in ordered if self._insert(ballot))

    async def recorded(self, votes: Sequence[CastVote]) -> Mapping[str, RecordedVote]:
        """For each vote (by vote_id) the stored vote in its way: of the same request first, else of the same place."""
        found = {vote.vote_id: self._in_the_way(vote) for vote in votes}
        return {vote_id: _recorded(self._tables.votes[at]) for vote_id, at in found.items() if at is not None}

    async def standings(self, entries: Sequence[LogEntry]) -> Sequence[Standing]:
        """For each entry its sequence, and the tally as its version left it; zeros for an unknown market."""
        return [self._standing(entry) for entry in entries]

    async def merge(self, ballots: Sequence[ChainBallot]) -> Mapping[str, Merge]:
        """Take in what is new and mark the API votes in its place as superseded."""
        check_fenced((ballot.vote.market_id for ballot in ballots), self._epochs)
        known = await self.known_chain_votes([ballot.vote for ballot in ballots])
        merges = {ballot.vote.vote_id: Merge(is_new=False) for ballot in ballots}
        for ballot in one_of_each_place(each for each in ballots if each.vote.vote_id not in known):
            _check_uuid(ballot.vote.vote_id)
            if ballot.is_late:
                self._tables.late[ballot.vote.vote_id] = ballot
            else:
                merges[ballot.vote.vote_id] = self._merge(ballot)
        return merges

    async def known_chain_votes(self, votes: Sequence[RecordChainVote]) -> frozenset[str]:
        """Those of the vote_ids that are kept as late, or in whose place a chain vote counts."""
        return frozenset(vote.vote_id for vote in votes if vote.vote_id in self._tables.late or self._is_merged(vote))

    async def save(self, changes: Sequence[Change]) -> None:
        """Write new versions, outbox rows, intents, notes and alerts; raises VersionMoved (a Fenced)."""
        check_fenced((change.market.market_id for change in changes), self._epochs)
        check_distinct(changes)
        for intent in (intent for change in changes for intent in change.planned):
            self._plan(intent)
        check_versions([c.market.market_id for c in changes if self._save_market(c)], changes, self._epochs)
        for change in changes:
            self._save_feed(change.feed)
            for intent_id in change.applied:
                if intent_id in self._tables.attempts:
                    self._tables.attempts[intent_id] = replace(self._tables.attempts[intent_id], applied=True)
            for note in change.aggregations:
                self._note(note)
            for alert in change.alerts:
                self._tables.raise_alert(alert)

    def _insert(self, ballot: Ballot) -> bool:
        vote = ballot.vote
        _check_uuid(vote.vote_id)
        if vote.vote_id in self._tables.votes or self._in_the_way(vote) is not None:
            return False
        self._tables.votes[vote.vote_id] = ballot
        self._tables.places[vote.market_id, vote.wallet, vote.vote_type] = vote.vote_id
        if vote.request_id is not None:
            self._tables.requests[vote.wallet, vote.request_id] = vote.vote_id
        return True

    def _in_the_way(self, vote: CastVote) -> str | None:
        if vote.vote_id in self._tables.superseded:
            return vote.vote_id
        requested = self._tables.requests.get((vote.wallet, vote.request_id)) if vote.request_id is not None else None
        return requested or self._tables.places.get((vote.market_id, vote.wallet, vote.vote_type))

    def _is_merged(self, vote: RecordChainVote) -> bool:
        counted = self._tables.places.get((vote.market_id, vote.wallet, vote.vote_type))
        return counted is not None and isinstance(self._tables.votes[counted], ChainBallot)

    def _merge(self, ballot: ChainBallot) -> Merge:
        vote, place = ballot.vote, (ballot.vote.market_id, ballot.vote.wallet, ballot.vote.vote_type)
        before = self._tables.places.get(place)
        if before is not None:
            self._tables.superseded[before] = ballot
        self._tables.votes[vote.vote_id] = ballot
        self._tables.places[place] = vote.vote_id
        return Merge(True, None if before is None else _entry(self._tables.votes[before]))

    def _standing(self, asked: LogEntry) -> Standing:
        if asked.market_id not in self._tables.markets:
            return Standing(Tally(), 0)
        market, _ = self._tables.markets[asked.market_id]
        tally, sequence = market.tally(asked.vote_type), market.log(asked.vote_type).size
        for ballot in self._tables.votes.values():
            entry, since = _entry(ballot), self._tables.superseded.get(ballot.vote.vote_id)
            if (entry.market_id, entry.vote_type) != (asked.market_id, asked.vote_type):
                continue
            sequence -= entry.place > asked.place and entry.market_version <= market.version
            if since is None and asked.market_version < entry.market_version <= market.version:
                tally = tally.minus(single(entry.choice, entry.weight))
            elif since and entry.market_version <= asked.market_version < since.market_version <= market.version:
                tally = tally.plus(single(entry.choice, entry.weight))
        return Standing(tally, sequence)

    def _save_market(self, change: Change) -> bool:
        market = change.market
        stored = self._tables.markets.get(market.market_id)
        if change.is_new is not (stored is None) or (stored and stored[0].version != market.version - 1):
            return False
        if market.intent and market.intent.intent_id not in self._tables.attempts:
            raise JournalLost("save", f"market {market.market_id} refers to an attempt that was never planned")
        self._tables.markets[market.market_id] = (market, change.deadline)
        return True

    def _save_feed(self, feed: Sequence[FeedMessage]) -> None:
        for message in feed:
            if (message.channel, message.seq) in self._tables.outbox:
                raise JournalLost("save_outbox", f"{message.channel} has number {message.seq} already")
            self._tables.outbox[message.channel, message.seq] = message

    def _plan(self, intent: Intent) -> None:
        _check_uuid(intent.intent_id)
        if intent.intent_id in self._tables.attempts or self._open_attempt(intent):
            raise JournalLost("plan_intents", f"{intent.action} of {intent.market_id} is under way already")
        self._tables.attempts[intent.intent_id] = Attempt(intent, planned_at_s=self._now_s)

    def _open_attempt(self, intent: Intent) -> bool:
        return any(
            attempt.status in OPEN_STATUSES
            and attempt.intent.market_id == intent.market_id
            and (attempt.intent.action is intent.action or {attempt.intent.action, intent.action} <= ENDS)
            for attempt in self._tables.attempts.values()
        )

    def _note(self, note: AggregationNote) -> None:
        """The figures are those of the plan; a later note moves the status on, and never back."""
        intent_id = note.aggregation_id
        row = self._tables.aggregations.get(intent_id)
        if row is None:
            self._tables.aggregations[intent_id] = AggregationRow(note)
        elif row.note.status not in _SETTLED_NOTES and note.status != "pending":
            attempt = self._tables.attempts.get(intent_id)
            signature = row.signature or (attempt.signature if attempt else None)
            moved = replace(row.note, status=note.status, reason=note.reason)
            self._tables.aggregations[intent_id] = AggregationRow(moved, signature)


def _entry(ballot: Ballot | ChainBallot) -> LogEntry:
    return entry_of(ballot.vote, ballot.accepted_at_ms, ballot.market_version)


def _recorded(ballot: Ballot | ChainBallot) -> RecordedVote:
    return RecordedVote(_entry(ballot), ballot.vote.request_id if isinstance(ballot.vote, CastVote) else None)


def _settlement(attempt: Attempt) -> Settlement:
    end = (attempt.signature, attempt.slot, attempt.error_name, attempt.observed)
    return Settlement(attempt.intent, attempt.status, *end)


def _check_uuid(text: str) -> None:
    assert str(uuid.UUID(text)) == text, f"not a UUID in canonical form: {text}"
