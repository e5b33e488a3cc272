"""One database for a test of storage, real or in memory, looked at the same way; and values to put into it."""

from __future__ import annotations

import json
import os
import uuid
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import asyncpg
import pytest

from domain.commands import CastVote, RecordChainVote
from domain.deadlines import Deadline
from domain.feed import announce, told_at
from domain.ids import VIRTUAL_SHARDS, MarketId
from domain.intents import Action, Intent
from domain.journal import AggregationNote, Ballot, ChainBallot, Change
from domain.lifecycle import Lifecycle
from domain.market import Market
from domain.merkle import leaf_hash
from domain.tally import Tally, VoteType
from domain.votelog import Fate, LogEntry, LoggedVote, entry_of
from storage.database import Database, database_pool
from storage.journal import PostgresJournal
from storage.memory import MemoryJournal
from storage.memory_tables import MemoryDatabase
from storage.transactions import MemoryTransactionStore, PostgresTransactionStore
from storage.vote_log import VoteLog
from tests.support.markets import NOON_S, market_id, vote, wallet

ALL_SHARDS = range(VIRTUAL_SHARDS)
SHORT_WAIT_S = 0.1
NOON_MS = NOON_S * 1000
LAST_ID = "ffffffff-ffff-ffff-ffff-ffffffffffff"
AnyJournal = PostgresJournal | MemoryJournal
AnyStore = PostgresTransactionStore | MemoryTransactionStore


class Ground(ABC):
    """A database, the sessions opened on it, and what its tables hold."""

    store: AnyStore

    def __init__(self) -> None:
        self._opened: list[AnyJournal] = []

    async def journal(self, acquire_timeout_s: float = SHORT_WAIT_S) -> Any:
        """Another session."""
        journal = await self._open(acquire_timeout_s)
        self._opened.append(journal)
        return journal

    async def end_journals(self) -> None:
        """End every session that was opened here."""
        while self._opened:
            await self._opened.pop().close()

    async def close(self) -> None:
        await self.end_journals()

    @abstractmethod
    async def _open(self, acquire_timeout_s: float) -> AnyJournal: ...

    @abstractmethod
    async def kill(self, journal: Any) -> None:
        """End a session from outside."""

    @abstractmethod
    async def votes(self) -> int:
        """How many votes are stored."""

    @abstractmethod
    async def log(self, market_id: MarketId, vote_type: VoteType) -> list[LoggedVote]:
        """The entries of a log, in its order."""

    @abstractmethod
    async def late(self, market_id: MarketId, vote_type: VoteType) -> list[LoggedVote]:
        """The votes that were seen too late."""

    @abstractmethod
    async def roots(self, market_id: MarketId) -> list[tuple[VoteType, int | None, str | None, int, int]]:
        """Type, size and root of the log, exact yes and no of every aggregation of a market."""

    @abstractmethod
    async def outbox(self) -> list[tuple[str, int, str, Any]]:
        """Channel, sequence, type and payload of every message, in the order they were written."""

    @abstractmethod
    async def aggregations(self) -> list[tuple[str, str, str | None, int, int, str]]:
        """Intent, status, signature, exact yes and no, and reason of every aggregation."""

    @abstractmethod
    async def rewrite(self, market_id: MarketId, state: Lifecycle, likes: int) -> None:
        """Set a market's state and likes past every actor, as an operator would."""

    @abstractmethod
    async def strike(self, vote_id: str) -> None:
        """Take a counted vote away past every actor."""

    @abstractmethod
    async def alerts(self) -> list[str]:
        """The dedupe keys of open alerts."""


class MemoryGround(Ground):
    def __init__(self) -> None:
        super().__init__()
        self.database = MemoryDatabase()
        self.store = MemoryTransactionStore(self.database)

    async def _open(self, acquire_timeout_s: float) -> AnyJournal:
        return MemoryJournal(self.database, acquire_timeout_s)

    async def kill(self, journal: Any) -> None:
        self.database.end_session(journal)

    async def votes(self) -> int:
        return len(self.database.tables.places)

    async def log(self, market_id: MarketId, vote_type: VoteType) -> list[LoggedVote]:
        superseded = self.database.tables.superseded
        found = []
        for vote_id, each in self.database.tables.votes.items():
            by = superseded.get(vote_id)
            fate = Fate.SUPERSEDED if by else Fate.COUNTED
            found.append(LoggedVote(entry(each), fate, by.vote.vote_id if by else None))
        return _of(found, market_id, vote_type)

    async def late(self, market_id: MarketId, vote_type: VoteType) -> list[LoggedVote]:
        found = [LoggedVote(entry(each), Fate.LATE) for each in self.database.tables.late.values()]
        return _of(found, market_id, vote_type)

    async def roots(self, market_id: MarketId) -> list[tuple[VoteType, int | None, str | None, int, int]]:
        notes = [row.note for row in self.database.tables.aggregations.values()]
        mine = [note for note in notes if note.market_id == market_id]
        return [(note.vote_type, note.votes_size, note.votes_root, note.tally.yes, note.tally.no) for note in mine]

    async def outbox(self) -> list[tuple[str, int, str, Any]]:
        messages = self.database.tables.outbox.values()
        return [(*place, message.type, message.payload) for message in messages for place in message.places]

    async def aggregations(self) -> list[tuple[str, str, str | None, int, int, str]]:
        rows = self.database.tables.aggregations
        return [
            (key, r.note.status, r.signature, r.note.tally.yes, r.note.tally.no, r.note.reason)
            for key, r in rows.items()
        ]

    async def rewrite(self, market_id: MarketId, state: Lifecycle, likes: int) -> None:
        market, deadline = self.database.tables.markets[market_id]
        tally = replace(market.proposal, yes=likes, yes_voters=likes)
        self.database.tables.markets[market_id] = (replace(market, state=state, proposal=tally), deadline)
        self.database.announce_changed(market_id, votes=False)

    async def strike(self, vote_id: str) -> None:
        vote = self.database.tables.votes.pop(vote_id).vote
        del self.database.tables.places[(vote.market_id, vote.wallet, vote.vote_type)]
        self.database.announce_changed(vote.market_id, votes=True)

    async def alerts(self) -> list[str]:
        return list(self.database.tables.alerts)


class PostgresGround(Ground):
    def __init__(self, database_url: str, database: Database) -> None:
        super().__init__()
        self.database_url = database_url
        self.database = database
        self.store = PostgresTransactionStore(database)
        self._inspector: asyncpg.Connection | None = None

    async def close(self) -> None:
        await super().close()
        if self._inspector is not None:
            await self._inspector.close()
        await self.database.close()

    async def query(self, statement: str, *arguments: Any) -> list[Any]:
        """A statement of the test's own, on a session beside all others."""
        if self._inspector is None:
            self._inspector = await asyncpg.connect(self.database_url)
        return list(await self._inspector.fetch(statement, *arguments))

    async def _open(self, acquire_timeout_s: float) -> AnyJournal:
        return await PostgresJournal.connect(self.database_url, acquire_timeout_s)

    async def kill(self, journal: Any) -> None:
        await self.query("SELECT pg_terminate_backend($1, 5000)", journal._connection.get_server_pid())

    async def votes(self) -> int:
        return int((await self.query("SELECT count(*) FROM vote_records"))[0]["count"])

    async def log(self, market_id: MarketId, vote_type: VoteType) -> list[LoggedVote]:
        return list(await VoteLog(self.database).entries(market_id, vote_type))

    async def late(self, market_id: MarketId, vote_type: VoteType) -> list[LoggedVote]:
        return list(await VoteLog(self.database).late(market_id, vote_type))

    async def roots(self, market_id: MarketId) -> list[tuple[VoteType, int | None, str | None, int, int]]:
        found = await VoteLog(self.database).aggregations(market_id)
        return [(each.vote_type, each.votes_size, each.votes_root, each.yes_votes, each.no_votes) for each in found]

    async def outbox(self) -> list[tuple[str, int, str, Any]]:
        rows = await self.query("SELECT channel, seq, type, payload, votes_seq FROM feed_outbox ORDER BY id")
        return [
            (*place, row["type"], json.loads(row["payload"]))
            for row in rows
            for place in told_at(row["channel"], row["seq"], row["votes_seq"])
        ]

    async def aggregations(self) -> list[tuple[str, str, str | None, int, int, str]]:
        rows = await self.query(
            "SELECT intent_id::text, status, transaction_signature, yes_votes::bigint, no_votes::bigint, reason"
            " FROM aggregation_results ORDER BY id"
        )
        return [tuple(row) for row in rows]

    async def rewrite(self, market_id: MarketId, state: Lifecycle, likes: int) -> None:
        statement = "UPDATE markets SET state = $2, likes = $3::bigint, like_voters = $3::bigint WHERE market_id = $1"
        await self.query(statement, market_id, state.name, likes)

    async def strike(self, vote_id: str) -> None:
        await self.query("DELETE FROM vote_records WHERE id = $1::text::uuid", vote_id)

    async def alerts(self) -> list[str]:
        return [row["dedupe_key"] for row in await self.query("SELECT dedupe_key FROM alerts ORDER BY id")]


@pytest.fixture(params=["memory", "postgres"])
def ground_url(request: pytest.FixtureRequest) -> str | None:
    """None for the twin; synchronous, because making a database runs a loop of its own."""
    return None if request.param == "memory" else str(request.getfixturevalue("database_url"))


@pytest.fixture
async def ground(ground_url: str | None) -> AsyncIterator[Ground]:
    """Each test that asks for this runs over the twin and over the real one."""
    ground = MemoryGround() if ground_url is None else await real(ground_url)
    yield ground
    await ground.close()


@pytest.fixture
async def real_ground(database_url: str) -> AsyncIterator[PostgresGround]:
    """For what only PostgreSQL can show."""
    ground = await real(database_url)
    yield ground
    await ground.close()


async def real(database_url: str) -> PostgresGround:
    """The ground of a database that exists."""
    return PostgresGround(database_url, await database_pool(database_url, size=4))


async def own(journal: Any, pid: int | None = None, shards: Any = ALL_SHARDS) -> dict[int, int]:
    """Take virtual shards as a process of host "here"; by default as this living one."""
    epochs: dict[int, int] = await journal.acquire(shards, "here", 7000, os.getpid() if pid is None else pid)
    return epochs


def new_id() -> str:
    return str(uuid.uuid4())


def cast(number: int, choice: bool = True, **changes: Any) -> CastVote:
    """A vote by wallet `number` with an id that a database takes."""
    return replace(vote(number, choice), **{"vote_id": new_id(), **changes})


def ballot(number: int, version: int, choice: bool = True, **changes: Any) -> Ballot:
    return Ballot(cast(number, choice, **changes), version, NOON_MS + number)


def chain_vote(number: int, choice: bool = True, **changes: Any) -> RecordChainVote:
    """A proposal vote by wallet `number` as a transaction of the chain shows it."""
    seen = RecordChainVote(
        market_id(), new_id(), wallet(number), VoteType.PROPOSAL, choice, 1, None, f"tx{number}", 20, NOON_S
    )
    return replace(seen, **changes)


def chain_ballot(number: int, version: int, choice: bool = True, is_late: bool = False, **changes: Any) -> ChainBallot:
    return ChainBallot(chain_vote(number, choice, **changes), version, NOON_MS + number, is_late)


def entry(ballot: Ballot | ChainBallot) -> LogEntry:
    """What a ballot says in the log."""
    return entry_of(ballot.vote, ballot.accepted_at_ms, ballot.market_version)


def _of(votes: list[LoggedVote], market_id: MarketId, vote_type: VoteType) -> list[LoggedVote]:
    mine = [each for each in votes if (each.entry.market_id, each.entry.vote_type) == (market_id, vote_type)]
    return sorted(mine, key=lambda each: each.entry.place)


def at_version(version: int, number: int = 1, vote_type: VoteType = VoteType.PROPOSAL) -> LogEntry:
    """An entry that stands behind all of a version, to ask how things stood then."""
    return entry(ballot(0, version, vote_id=LAST_ID, market_id=market_id(number), vote_type=vote_type))


def counted(before: Market, yes: int = 0, no: int = 0, deadline: Deadline | None = None) -> Change:
    """The change that so many more proposal votes make."""
    log = before.proposal_log.plus_all([leaf_hash(b"vote")] * (yes + no))
    tally = before.proposal.plus(Tally(yes, no, yes, no))
    after = replace(before, version=before.version + 1, proposal=tally, proposal_log=log)
    after, feed = announce(before, after, after.version)
    return Change(after, deadline, is_new=False, feed=feed, before=before)


def planned(before: Market, yes: int = 7, no: int = 3, attempt: int = 1) -> Change:
    """The change that sends a pair of tallies to the chain."""
    intent = Intent(new_id(), before.market_id, Action.AGGREGATE_PROPOSAL, attempt, yes, no)
    place = (intent.intent_id, intent.market_id, VoteType.PROPOSAL)
    note = AggregationNote(*place, "pending", Tally(yes, no, yes, no), (yes, no), 7000, threshold_met=True)
    after = replace(before, version=before.version + 1, intent=intent)
    return Change(after, None, is_new=False, planned=(intent,), aggregations=(note,), before=before)


def adopted(market: Market, deadline: Deadline | None = None) -> Change:
    """The change that makes a market known."""
    return Change(market, deadline, is_new=True)


PROPOSAL_NOW = (market_id(), VoteType.PROPOSAL)
