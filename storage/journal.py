"""The journal of a shard on PostgreSQL: one session that holds the locks and makes every commit.

A batch of votes that are all new takes one round trip (`take`). Any other takes six: BEGIN, fence, insert, markets,
outbox, COMMIT.
"""

import dataclasses
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from itertools import chain
from typing import Any, Self

import asyncpg

from domain.deadlines import Deadline
from domain.ids import MarketId
from domain.intents import Intent, Settlement
from domain.journal import AlertNote, Ballot, Change, Epochs, Fenced
from domain.market import Market
from domain.observed import ChainConfig
from domain.shards import ShardBeat
from domain.tally import Tally, VoteType
from storage import codec, vote_batches
from storage.ballots import PostgresBallots, fetched
from storage.fencing import check_distinct, check_fenced, check_versions
from storage.outages import TROUBLE, JournalLost, StorageUnavailable, outages
from storage.outside import Outside
from storage.ownership import ACQUIRE_TIMEOUT_S, Ownership
from storage.queries import sql
from storage.session import CONNECT_TIMEOUT_S, Spans, connect_shard
from storage.turn import Turn

CLOSE_TIMEOUT_S = 2.0


class PostgresJournal:
    """`actors.ports.Journal` on one connection.

    Tasks may share it: each operation waits for its turn, a transaction has the turn from begin to commit. Any doubt
    about the session raises JournalLost, and every later call too: the process must end and load afresh.
    """

    def __init__(self, connection: asyncpg.Connection, acquire_timeout_s: float = ACQUIRE_TIMEOUT_S) -> None:
        self._connection = connection
        self._acquire_timeout_s = acquire_timeout_s
        self._turn = Turn()
        self._outside = Outside()

    @classmethod
    async def connect(
        cls, database_url: str, acquire_timeout_s: float = ACQUIRE_TIMEOUT_S, span: Spans | None = None
    ) -> Self:
        """Open the session; `span` goes around each statement. Raises StorageUnavailable."""
        with outages("connect", StorageUnavailable):
            journal = cls(await connect_shard(database_url, span), acquire_timeout_s)
            await journal._outside.listen(journal._connection)
        return journal

    async def acquire(self, virtual_shards: Sequence[int], host: str, port: int, pid: int) -> dict[int, int]:
        """Lock the virtual shards for this process and return their new epochs; raises VirtualShardsHeld."""
        with outages("acquire", JournalLost):
            async with self._turn:
                ownership = Ownership(self._connection, host, port, pid)
                return await ownership.take(virtual_shards, self._acquire_timeout_s)

    @asynccontextmanager
    async def transaction(self, epochs: Epochs) -> AsyncIterator["PostgresJournalTransaction"]:
        """Begin, fence, commit on leaving; an exception of the body undoes everything and goes on its way.

        Raises Fenced, or JournalLost: then the outcome of a commit is unknown.
        """
        async with self._turn, self._begun():
            await self._fence(epochs)
            yield PostgresJournalTransaction(self._connection, epochs)

    async def take(
        self, epochs: Epochs, ballots: Sequence[Ballot], changes: Sequence[Change], *, announces: bool = False
    ) -> bool:
        """Insert all ballots and save the changes that count them, one statement and one commit.

        False, and nothing is written, when not all of it went in or the changes are more than counts; why, a
        `transaction` tells. Raises JournalLost: then the outcome is unknown.
        """
        arguments = vote_batches.arguments(epochs, ballots, changes, announces=announces)
        if arguments is None:
            return False
        with outages("take_votes", JournalLost):
            async with self._turn:
                return await self._taken(arguments)

    async def _taken(self, arguments: Sequence[Any]) -> bool:
        """True is said after the answer to the statement's commit: asyncpg waits for ReadyForQuery."""
        try:
            await self._connection.fetch(sql("take_votes"), *arguments)
        except BaseException as error:
            if getattr(error, "sqlstate", None) in vote_batches.NOT_ALL_WENT_IN:
                return False
            self._connection.terminate()
            raise
        return True

    async def load(self, market_ids: Sequence[MarketId]) -> Sequence[tuple[Market, Deadline | None]]:
        """Those of the markets that exist, each with its stored deadline."""
        rows = await self._fetch("load_markets", list(market_ids))
        return [(codec.market_of(row), codec.deadline_of(row)) for row in rows]

    async def deadlines(self, virtual_shards: Sequence[int]) -> Sequence[tuple[MarketId, Deadline]]:
        """Every stored deadline of these virtual shards, earliest first."""
        rows = await self._fetch("deadlines", [str(vshard) for vshard in virtual_shards])
        return [(row["market_id"], deadline) for row in rows if (deadline := codec.deadline_of(row))]

    async def windowed(self, virtual_shards: Sequence[int]) -> Sequence[MarketId]:
        """Markets of these virtual shards that end by the clock."""
        rows = await self._fetch("windowed_markets", [str(vshard) for vshard in virtual_shards])
        return [row["market_id"] for row in rows]

    async def settlements(self, virtual_shards: Sequence[int], limit: int) -> Sequence[Settlement]:
        """Ended attempts that no market has taken in yet, oldest first."""
        rows = await self._fetch("settlements", [str(vshard) for vshard in virtual_shards], limit)
        return [codec.settlement_of(row) for row in rows]

    async def attempts(self, intent_ids: Sequence[str]) -> dict[str, Intent]:
        """Those of the intents that were ever planned, by their id."""
        rows = await self._fetch("attempts", list(intent_ids))
        return {row["intent_id"]: codec.intent_of(row) for row in rows}

    def changed_outside(self) -> Mapping[MarketId, bool]:
        """Markets that somebody else wrote since the last call, and of each whether its votes were; of all shards."""
        return self._outside.taken()

    async def recount(self, market_ids: Sequence[MarketId]) -> Mapping[tuple[MarketId, VoteType], Tally]:
        """What the stored votes of these markets add up to; nothing for a type without votes."""
        rows = await self._fetch("recount_votes", list(market_ids)) if market_ids else []
        return {
            (row["market_id"], VoteType(row["vote_type"])): Tally(
                row["yes"], row["no"], row["yes_voters"], row["no_voters"]
            )
            for row in rows
        }

    async def config(self) -> ChainConfig | None:
        """The last GlobalConfig that was read, or None before the first."""
        rows = await self._fetch("chain_config")
        return codec.config_of(rows[0]) if rows else None

    async def announce_outbox(self) -> None:
        """Wake whoever listens on `zmart_outbox`; a hint."""
        await self._execute("announce_outbox")

    async def raise_alerts(self, notes: Sequence[AlertNote]) -> None:
        """Store alerts that no change of a market tells of."""
        if notes:
            await self._fetch("raise_alerts", *codec.columns([codec.alert_row(note) for note in notes]))

    async def beat(self, beat: ShardBeat) -> None:
        """Keep what this process says of itself; nothing once another one owns its virtual shards."""
        await self._fetch("beat", *dataclasses.astuple(beat))

    async def ping(self) -> None:
        """One round trip; raises JournalLost when the session is gone."""
        await self._execute("ping")

    async def close(self) -> None:
        """End the session, which frees the locks; a session that cannot say goodbye is cut off."""
        try:
            await self._connection.close(timeout=CLOSE_TIMEOUT_S)
        except TROUBLE:
            self._connection.terminate()

    @asynccontextmanager
    async def _begun(self) -> AsyncIterator[None]:
        """BEGIN, then COMMIT or ROLLBACK; when either leaves a doubt the session is cut off."""
        with outages("begin", JournalLost):
            await self._connection.execute("BEGIN")
        try:
            yield
        except BaseException:
            await self._roll_back()
            raise
        try:
            with outages("commit", JournalLost):
                await self._connection.execute("COMMIT")
        except BaseException:
            self._connection.terminate()
            raise

    async def _roll_back(self) -> None:
        """Undo; what the body raised is the news, so trouble here only cuts the session off, which undoes too."""
        try:
            if not self._connection.is_closed():
                await self._connection.execute("ROLLBACK", timeout=CONNECT_TIMEOUT_S)
        except TROUBLE:
            self._connection.terminate()

    async def _fence(self, epochs: Epochs) -> None:
        rows = await fetched(self._connection, "fence", [str(vshard) for vshard in epochs])
        found = {row["id"]: row["epoch"] for row in rows}
        if found != dict(epochs):
            raise Fenced(epochs, found)

    async def _fetch(self, name: str, *arguments: Any) -> list[Any]:
        with outages(name, JournalLost):
            async with self._turn:
                return list(await self._connection.fetch(sql(name), *arguments))

    async def _execute(self, name: str) -> None:
        with outages(name, JournalLost):
            async with self._turn:
                await self._connection.execute(sql(name))


class PostgresJournalTransaction(PostgresBallots):
    """`actors.ports.JournalTransaction`: one open transaction, fenced for some virtual shards."""

    async def save(self, changes: Sequence[Change]) -> None:
        """Write new versions, outbox rows, intents, notes and alerts; raises VersionMoved (a Fenced)."""
        check_fenced((change.market.market_id for change in changes), self._epochs)
        check_distinct(changes)
        # Intents first: the market's row refers to its attempt.
        await self._write("plan_intents", [codec.intent_row(intent) for c in changes for intent in c.planned])
        await self._save_markets(changes)
        await self._write("save_outbox", [codec.outbox_row(message) for c in changes for message in c.feed])
        applied = list(chain.from_iterable(change.applied for change in changes))
        if applied:
            await fetched(self._connection, "apply_settlements", applied)
        await self._write("note_aggregations", [codec.note_row(note) for c in changes for note in c.aggregations])
        await self._write("raise_alerts", [codec.alert_row(note) for c in changes for note in c.alerts])

    async def _save_markets(self, changes: Sequence[Change]) -> None:
        new = [change for change in changes if change.is_new]
        known = [(change, codec.moves_counts_only(change)) for change in changes if not change.is_new]
        written = await self._write("update_counts", [codec.counts_row(change) for change, narrow in known if narrow])
        written += await self._write_whole("insert_markets", new)
        written += await self._write_whole("update_markets", [change for change, narrow in known if not narrow])
        check_versions((row["market_id"] for row in written), changes, self._epochs)

    async def _write_whole(self, name: str, changes: Sequence[Change]) -> list[Any]:
        if not changes:
            return []
        return await fetched(self._connection, name, json.dumps([codec.market_json(change) for change in changes]))
