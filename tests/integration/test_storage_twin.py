"""Random ways to use a journal come out the same on PostgreSQL and in memory."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from domain.deadlines import ClockName, Deadline
from domain.feed import announce
from domain.ids import MarketId
from domain.intents import Action, Intent
from domain.journal import AggregationNote, AlertNote, Ballot, Change, Fenced
from domain.lifecycle import Lifecycle
from domain.market import Market
from domain.tally import Tally, VoteType, single
from storage.outages import JournalLost
from storage.transactions import TransitionRefused
from tests.support.markets import NOON_S, market, market_id, observed, wallet
from tests.support.storage import (
    ALL_SHARDS,
    Ground,
    MemoryGround,
    PostgresGround,
    cast,
    new_id,
    own,
    real,
)

EXAMPLES = 50
MARKETS = 2
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
doings = st.lists(st.one_of(votes, votes, votes, steps, steps, marks, marks, owns), min_size=6, max_size=16)


class Driver:
    """Does the same to one ground as another driver does to the other, and writes down what it saw."""

    def __init__(self, ground: Ground, salt: int) -> None:
        self._ground = ground
        self._salt = salt
        self._markets: dict[int, Market] = {}
        self._intents: list[Intent] = []
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
        ballots = [Ballot(self._cast(doing.market, v, next(ids)), version) for v in doing.votes]
        async with self._journal.transaction(self.epochs) as transaction:
            inserted = await transaction.insert_ballots(ballots)
            after = before
            if before and inserted:
                after, change = _count(before, [b for b in ballots if b.vote.vote_id in inserted], doing.tells_before)
                await transaction.save([change])
            recorded = await transaction.recorded([b.vote for b in ballots])
            wanted = [(self.market_id(doing.market), kind, v) for kind in VoteType for v in range(version + 2)]
            tallies = await transaction.tallies_at(wanted)
            if doing.goes_wrong or not before:
                raise ZeroDivisionError
        if after:
            self._markets[doing.market] = after
        return inserted, dict(recorded), list(tallies)

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
        notes = [AggregationNote(i, "confirmed", Tally(), 0, 0, False, "end") for i in taken_in]
        if doing.plans:
            planned = (Intent(next(ids), after.market_id, doing.plans, 1, 7, 3),)
            notes.append(AggregationNote(planned[0], "pending", Tally(7, 3, 7, 3), 7000, 7000, True))
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


def _count(before: Market, taken: list[Ballot], tells_before: bool) -> tuple[Market, Change]:
    after = replace(before, version=before.version + 1)
    for one in taken:
        kind, more = one.vote.vote_type, single(one.vote.choice, one.vote.weight)
        moved: dict[str, Any] = {kind.value: after.tally(kind).plus(more)}
        after = replace(after, **moved)
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
