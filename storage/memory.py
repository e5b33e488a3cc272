"""The journal's in-memory twin: the same promises without a server, for tests and for trying the actors out.

One `MemoryDatabase` is what PostgreSQL is to the real journal: several journals may share it, each its own session.
Transactions run one after the other, see their own writes, and leave nothing when they fail.
"""

import asyncio
import math
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace

from domain.deadlines import WINDOWED, Deadline
from domain.feed import FeedMessage
from domain.ids import MarketId, virtual_shard
from domain.intents import ENDS, OPEN_STATUSES, Intent, Settlement
from domain.journal import (
    AggregationNote,
    AlertNote,
    Ballot,
    Change,
    Epochs,
    Fenced,
)
from domain.market import Market
from domain.observed import ChainConfig
from domain.shards import ShardBeat
from domain.tally import Tally, VoteType, single
from storage import vote_batches
from storage.fencing import check_distinct, check_fenced, check_versions
from storage.memory_ballots import MemoryBallots, check_uuid
from storage.memory_tables import AggregationRow, Attempt, MemoryDatabase, MemorySession, Owner, Tables
from storage.outages import JournalLost, VirtualShardsHeld
from storage.ownership import ACQUIRE_TIMEOUT_S, POLL_S, is_alive
from storage.turn import Turn

_SETTLED_NOTES = ("confirmed", "failed", "skipped")


class _NotAllWentIn(Exception):
    """Undoes the transaction of a `take`."""


class MemoryJournal(MemorySession):
    """`actors.ports.Journal` over a `MemoryDatabase`."""

    def __init__(self, database: MemoryDatabase | None = None, acquire_timeout_s: float = ACQUIRE_TIMEOUT_S) -> None:
        super().__init__()
        self.database = database or MemoryDatabase()
        self._acquire_timeout_s = acquire_timeout_s
        self._turn = Turn()
        self.database.listeners.append(self.outside)

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

    async def take(
        self, epochs: Epochs, ballots: Sequence[Ballot], changes: Sequence[Change], *, announces: bool = False
    ) -> bool:
        """Insert all ballots and save the changes that count them, or nothing, as `PostgresJournal.take` does."""
        if vote_batches.arguments(epochs, ballots, changes) is None:
            return False
        try:
            async with self.transaction(epochs) as transaction:
                inserted = await transaction.insert_ballots(ballots)
                if len(inserted) < len(ballots):
                    raise _NotAllWentIn
                await transaction.save(changes)
        except (_NotAllWentIn, Fenced):
            return False
        self.database.announcements += announces
        return True

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

    async def attempts(self, intent_ids: Sequence[str]) -> dict[str, Intent]:
        """Those of the intents that were ever planned, by their id."""
        async with self._session("attempts"):
            planned = self.database.tables.attempts
            return {intent_id: planned[intent_id].intent for intent_id in intent_ids if intent_id in planned}

    def changed_outside(self) -> Mapping[MarketId, bool]:
        """Markets that somebody else wrote since the last call, and of each whether its votes were; of all shards."""
        return self.outside.taken()

    async def recount(self, market_ids: Sequence[MarketId]) -> Mapping[tuple[MarketId, VoteType], Tally]:
        """What the stored votes of these markets add up to; nothing for a type without votes."""
        async with self._session("recount_votes"):
            tables, sums = self.database.tables, dict[tuple[MarketId, VoteType], Tally]()
            for (market_id, _, vote_type), vote_id in tables.places.items():
                if market_id in market_ids:
                    vote, place = tables.votes[vote_id].vote, (market_id, vote_type)
                    sums[place] = sums.get(place, Tally()).plus(single(vote.choice, vote.weight))
            return sums

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

    async def beat(self, beat: ShardBeat) -> None:
        """Keep what this process says of itself; nothing once another one owns its virtual shards."""
        async with self._session("beat"):
            if any(owner.pid == beat.pid for owner in self.database.owners.values()):
                self.database.beats[beat.slot] = beat

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


class MemoryTransaction(MemoryBallots):
    """`actors.ports.JournalTransaction` over an overlay of the tables."""

    def __init__(self, tables: Tables, epochs: Epochs, now_s: float) -> None:
        super().__init__(tables, epochs)
        self._now_s = now_s

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
        check_uuid(intent.intent_id)
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


def _settlement(attempt: Attempt) -> Settlement:
    end = (attempt.signature, attempt.slot, attempt.error_name, attempt.observed)
    return Settlement(attempt.intent, attempt.status, *end)
