"""Random ways to use a journal come out the same on PostgreSQL and in memory."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from domain.commands import CastVote
from domain.counting import Taken, count
from domain.deadlines import ClockName, Deadline
from domain.feed import announce
from domain.ids import MarketId
from domain.intents import Action, Intent
from domain.journal import AggregationNote, AlertNote, Ballot, ChainBallot, Change, Fenced
from domain.lifecycle import Lifecycle
from domain.market import Market, evolve
from domain.tally import Tally, VoteType
from domain.votelog import LogEntry
from storage.outages import JournalLost
from storage.transactions import TransitionRefused
from tests.support.markets import NOON_S, market, market_id, observed, wallet
from tests.support.storage import (
    ALL_SHARDS,
    LAST_ID,
    NOON_MS,
    Ground,
    MemoryGround,
    PostgresGround,
    ballot,
    cast,
    chain_ballot,
    entry,
    new_id,
    own,
    real,
)

EXAMPLES = 50
MARKETS = 2
MIDDLE_ID = "80000000-0000-4000-8000-000000000000"
numbers = st.integers(0, MARKETS - 1)
_salts = itertools.count(1)


@dataclass(frozen=True)
class Vote:
    """A batch of votes: (wallet, choice, request, type) each, on one market; `goes_wrong` undoes it at the end."""

    market: int
    votes: tuple[tuple[int, bool, str | None, VoteType], ...]
    goes_wrong: bool
    tells_before: bool


@dataclass(frozen=True)
class Merge:
    """Votes that the chain shows: (wallet, choice, type) each; they are merged twice over in one transaction."""

    market: int
    votes: tuple[tuple[int, bool, VoteType], ...]
    is_late: bool
    goes_wrong: bool


@dataclass(frozen=True)
class Step:
    """Anything else that a market's new version may write; `stale` misses the version by one."""

    market: int
    state: Lifecycle
    plans: Action | None
    applies: bool
    alert: str | None
    stale: bool


@dataclass(frozen=True)
class Mark:
    """What the chain agent does to the open attempt that comes first."""

    name: str
    slot: int


@dataclass(frozen=True)
class Own:
    """The virtual shards change hands; `forgets` goes on with the old epochs."""

    forgets: bool


votes = st.builds(
    Vote,
    numbers,
    st.lists(
        st.tuples(st.integers(1, 4), st.booleans(), st.sampled_from([None, "a", "b"]), st.sampled_from(VoteType)),
        min_size=1,
        max_size=5,
    ).map(tuple),
    st.sampled_from([False, False, True]),
    st.booleans(),
)
merges = st.builds(
    Merge,
    numbers,
    st.lists(st.tuples(st.integers(1, 4), st.booleans(), st.sampled_from(VoteType)), min_size=1, max_size=3).map(tuple),
    st.sampled_from([False, False, True]),
    st.sampled_from([False, False, True]),
)
steps = st.builds(
    Step,
    numbers,
    st.sampled_from(Lifecycle),
    st.sampled_from([None, *Action]),
    st.booleans(),
    st.sampled_from([None, "x", "y"]),
    st.sampled_from([False, False, False, True]),
)
marks = st.builds(Mark, st.sampled_from(["signed", "sent", "confirmed", "finalized", "failed", "expired"]), numbers)
owns = st.builds(Own, st.sampled_from([False, False, False, True]))
doings = st.lists(
    st.one_of(votes, votes, votes, merges, merges, steps, steps, marks, marks, owns), min_size=6, max_size=16
)


class Driver:
    """Does the same to one ground as another driver does to the other, and writes down what it saw."""

    def __init__(self, ground: Ground, salt: int) -> None:
        self._ground = ground
        self._salt = salt
        self._markets: dict[int, Market] = {}
        self._intents: list[Intent] = []
        self._cast_before: list[CastVote] = []
        self.epochs: dict[int, int] = {}
        self.seen: list[object] = []

    async def start(self) -> None:
        self._journal = await self._ground.journal()
        await own(self._journal)
        self.epochs = await own(self._journal)

    def market_id(self, number: int) -> MarketId:
        return market_id(self._salt * 100 + number)

    async def do(self, doing: Any, ids: Iterator[str]) -> None:
        """One doing; an exception is part of what was seen, by its kind."""
        does: dict[type, Callable[[Any, Iterator[str]], Awaitable[object]]] = {
            Vote: self._vote,
            Merge: self._merge,
            Step: self._step,
            Mark: self._mark,
            Own: self._own,
        }
        try:
            self.seen.append(await does[type(doing)](doing, ids))
        except (Fenced, JournalLost, TransitionRefused, ZeroDivisionError) as error:
            self.seen.append(type(error).__name__)
        self.seen.append(await self.state())

    async def state(self) -> object:
        """Everything that can be read, without what differs by nature: the salt and the epochs' start."""
        mine = [self.market_id(number) for number in range(MARKETS)]
        channels = {f"{kind}_{m}" for m in mine for kind in ("market", "votes")}
        loaded = await self._journal.load(mine)
        ended = [s for s in await self._journal.settlements(ALL_SHARDS, 1000) if s.intent.market_id in mine]
        open_now = [t for t in await self._ground.store.open_transactions(1000) if t.intent.market_id in mine]
        known = {intent.intent_id for intent in self._intents}
        return (
            sorted(loaded, key=lambda pair: str(pair[0].market_id)),
            sorted((m, d) for m, d in await self._journal.deadlines(ALL_SHARDS) if m in mine),
            [row for row in await self._ground.outbox() if row[0] in channels],
            sorted(row for row in await self._ground.aggregations() if row[0] in known),
            sorted(key for key in await self._ground.alerts() if key.startswith(f"{self._salt}:")),
            ended,
            open_now,
        )

    async def _own(self, doing: Own, _: Iterator[str]) -> object:
        epochs = await own(self._journal)
        if not doing.forgets:
            self.epochs = epochs
        return None

    async def _vote(self, doing: Vote, ids: Iterator[str]) -> object:
        before = self._markets.get(doing.market)
        version = before.version + 1 if before else 1
        ballots = [Ballot(self._cast(doing.market, v, next(ids)), version, NOON_MS + version) for v in doing.votes]
        async with self._journal.transaction(self.epochs) as transaction:
            inserted = await transaction.insert_ballots(ballots)
            after = before
            if before and inserted:
                taken = [ballot for ballot in ballots if ballot.vote.vote_id in inserted]
                after, change = _count(before, taken, (), doing.tells_before)
                await transaction.save([change])
            recorded = await transaction.recorded([*(b.vote for b in ballots), *self._cast_before])
            standings = await self._standings(transaction, doing.market, version)
            if doing.goes_wrong or not before:
                raise ZeroDivisionError
        if after:
            self._markets[doing.market] = after
            self._cast_before = [ballot.vote for ballot in ballots]
        return inserted, dict(recorded), standings

    async def _merge(self, doing: Merge, ids: Iterator[str]) -> object:
        before = self._markets.get(doing.market)
        version = before.version + 1 if before else 1
        ballots = [self._chain_ballot(doing, version, vote, next(ids)) for vote in doing.votes]
        async with self._journal.transaction(self.epochs) as transaction:
            merges = await transaction.merge([*ballots, *ballots[:1]])
            after = before
            if before and (new := [each for each in ballots if merges[each.vote.vote_id].is_new]):
                gone = [merge.superseded for merge in merges.values() if merge.superseded]
                after, change = _count(before, new, gone, True)
                await transaction.save([change])
            again = await transaction.merge(ballots)
            known = await transaction.known_chain_votes([each.vote for each in ballots])
            standings = await self._standings(transaction, doing.market, version)
            if doing.goes_wrong or not before:
                raise ZeroDivisionError
        if after:
            self._markets[doing.market] = after
        return dict(merges), dict(again), known, standings

    async def _standings(self, transaction: Any, number: int, version: int) -> list[object]:
        asked = [
            entry(ballot(1, each, vote_id=vote_id, vote_type=kind, market_id=self.market_id(number)))
            for kind in VoteType
            for each in range(version + 2)
            for vote_id in (LAST_ID, MIDDLE_ID)
        ]
        return list(await transaction.standings(asked))

    def _chain_ballot(self, doing: Merge, version: int, body: tuple[int, bool, VoteType], vote_id: str) -> ChainBallot:
        voter, choice, kind = body
        mine = {"market_id": self.market_id(doing.market), "vote_id": vote_id, "vote_type": kind}
        at = version - 1 if doing.is_late else version
        return chain_ballot(voter, at, choice, doing.is_late, wallet=wallet(self._salt * 10 + voter), **mine)

    def _cast(self, number: int, body: tuple[int, bool, str | None, VoteType], vote_id: str) -> Any:
        voter, choice, request, kind = body
        mine = {"market_id": self.market_id(number), "vote_id": vote_id, "vote_type": kind}
        request_id = None if request is None else f"{self._salt}-{request}"
        return cast(voter, choice, request_id=request_id, wallet=wallet(self._salt * 10 + voter), **mine)

    async def _step(self, doing: Step, ids: Iterator[str]) -> object:
        before = self._markets.get(doing.market)
        fresh = replace(market(market_id=self.market_id(doing.market)), version=0)
        after = replace(before or fresh, state=doing.state)
        after = replace(after, version=after.version + (2 if doing.stale and before else 1))
        ended = [s.intent for s in await self._journal.settlements(ALL_SHARDS, 1000)]
        taken_in = [i for i in ended if i.market_id == after.market_id] if doing.applies else []
        planned: tuple[Intent, ...] = ()
        notes = [_note(i, "confirmed", Tally(), reason="end") for i in taken_in]
        if doing.plans:
            planned = (Intent(next(ids), after.market_id, doing.plans, 1, 7, 3),)
            notes.append(_note(planned[0], "pending", Tally(7, 3, 7, 3)))
            after = replace(after, intent=planned[0])
        after, feed = announce(before, after, after.version)
        alerts = (AlertNote("a", "LOW", f"{self._salt}:{doing.alert}", None, {}),) if doing.alert else ()
        deadline = Deadline(NOON_S + after.version, ClockName.WALL) if doing.applies else None
        applied = tuple(i.intent_id for i in taken_in)
        change = Change(after, deadline, not before, feed, planned, applied, tuple(notes), alerts)
        async with self._journal.transaction(self.epochs) as transaction:
            await transaction.save([change])
        self._markets[doing.market] = after
        self._intents += planned
        return None

    async def _mark(self, doing: Mark, _: Iterator[str]) -> object:
        if not self._intents:
            return None
        store, intent_id = self._ground.store, self._intents[doing.slot % len(self._intents)].intent_id
        match doing.name:
            case "signed":
                await store.mark_signed(intent_id, b"raw", intent_id, "hash", doing.slot)
            case "confirmed":
                await store.mark_confirmed(intent_id, doing.slot, observed(slot=doing.slot))
            case "failed":
                await store.mark_failed(intent_id, "InvalidState", None)
            case "expired":
                await store.mark_expired(intent_id, None)
            case name:
                await getattr(store, f"mark_{name}")(intent_id)
        return None


def _count(before: Market, taken: Taken, gone: Sequence[LogEntry], tells_before: bool) -> tuple[Market, Change]:
    after = replace(before, version=before.version + 1)
    for event in count(before, taken, gone)[0]:
        after = evolve(after, event)
    after, feed = announce(before, after, after.version)
    return after, Change(after, None, is_new=False, feed=feed, before=before if tells_before else None)


@pytest.fixture
def loop_runner() -> Iterator[asyncio.Runner]:
    with asyncio.Runner() as runner:
        yield runner


@pytest.fixture
def two_grounds(loop_runner: asyncio.Runner, database_url: str) -> Iterator[tuple[MemoryGround, PostgresGround]]:
    twin, actual = MemoryGround(), loop_runner.run(real(database_url))
    yield twin, actual
    loop_runner.run(actual.close())


@settings(
    max_examples=EXAMPLES,
    deadline=None,
    derandomize=True,  # a failure here is everybody's failure, on every run
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(doings=doings)
def test_the_twin_does_as_postgresql_does(
    loop_runner: asyncio.Runner, two_grounds: tuple[MemoryGround, PostgresGround], doings: list[Any]
) -> None:
    loop_runner.run(_compare(two_grounds, doings))


async def _compare(grounds: tuple[MemoryGround, PostgresGround], doings: list[Any]) -> None:
    """Each example has markets, wallets and a pair of sessions of its own in the two databases."""
    salt = next(_salts)
    drivers = [Driver(ground, salt) for ground in grounds]
    for driver in drivers:
        await driver.start()
    first = [Step(number, Lifecycle.PROPOSED, None, False, None, False) for number in range(MARKETS)]
    for doing in (*first, *doings):
        ids = [new_id() for _ in range(8)]
        for driver in drivers:
            await driver.do(doing, iter(ids))
        assert drivers[0].seen[-2:] == drivers[1].seen[-2:], doing
    for ground in grounds:
        await ground.end_journals()


def _note(intent: Intent, status: str, tally: Tally, reason: str = "") -> AggregationNote:
    counts = intent.counts or VoteType.PROPOSAL
    return AggregationNote(intent.intent_id, intent.market_id, counts, status, tally, intent.pair, 7000, False, reason)
