"""Markets that end by the clock, in their shard: the live GlobalConfig says when, and nothing ends twice."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator
from typing import Any

import pytest

from actors.messages import Batch
from actors.shard_core import ShardCore, ShardSettings
from domain.commands import AdoptMarket, AggregateNow
from domain.deadlines import ClockName, Deadline
from domain.disputes import MARGIN_S
from domain.ids import VIRTUAL_SHARDS
from domain.intents import Action
from domain.lifecycle import Lifecycle
from domain.observed import ChainClock
from domain.outcomes import Done
from domain.rules import ZeroVotes
from storage.memory import MemoryJournal
from storage.memory_tables import MemoryDatabase
from storage.transactions import MemoryTransactionStore
from tests.support.markets import NOON_S, FiveMinutes, config, market_id, observed
from tests.support.shard import HandClock

PERIOD_S = 259_200
END_S = NOON_S + PERIOD_S + MARGIN_S


class Bench:
    """One shard and a chain clock that the test sets."""

    def __init__(self) -> None:
        self.database = MemoryDatabase()
        self.wall = HandClock()
        self.zero_votes = ZeroVotes.UPHOLD
        self._slot = 10

    async def start(self) -> None:
        new_id = lambda: str(uuid.uuid4())  # noqa: E731 - rows want UUIDs
        settings = ShardSettings(FiveMinutes(), 10, self.wall, self.wall, new_id, self.zero_votes)
        self.journal = MemoryJournal(self.database)
        self.core = ShardCore(self.journal, settings)
        await self.core.boot(range(VIRTUAL_SHARDS), "host", 1, 4_000_000)

    async def restart(self) -> None:
        await self.journal.close()
        await self.start()

    async def hear(self, chain_s: int, **changes: Any) -> list[Action]:
        """The chain's clock and GlobalConfig were read; what was planned ever since the beginning."""
        self._slot += 1
        self.core.hear(ChainClock(self._slot, chain_s), config(slot=self._slot, **changes))
        while await self.core.fire_due():
            pass
        return [attempt.intent.action for attempt in self.database.tables.attempts.values()]

    async def adopt(self, number: int = 1, state: Lifecycle = Lifecycle.DISPUTED) -> None:
        account = observed(
            market_id=market_id(number),
            state=state,
            proposed_outcome=True,
            resolution_proposed_at_s=NOON_S,
            dispute_initiated_at_s=NOON_S,
        )
        batch = Batch("gateway", number, self.core.epochs, (AdoptMarket(account.market_id, account),))
        assert await self.core.handle(batch) == (Done(1),)

    def deadline(self, number: int = 1) -> Deadline | None:
        """As everybody reads it."""
        return self.database.tables.markets[market_id(number)][1]


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    bench = Bench()
    await bench.start()
    await bench.hear(NOON_S + 1)
    yield bench
    await bench.journal.close()


async def test_a_dispute_is_ended_once_when_its_window_has(bench: Bench) -> None:
    await bench.adopt()
    assert bench.deadline() == Deadline(END_S, ClockName.CHAIN)
    assert await bench.hear(END_S - 1) == []
    assert await bench.hear(END_S) == [Action.FINALIZE]
    assert await bench.hear(END_S + 10 * PERIOD_S) == [Action.FINALIZE]


async def test_a_dispute_replaces_the_window_of_the_resolution(bench: Bench) -> None:
    await bench.adopt(state=Lifecycle.RESOLVING)
    account = observed(slot=11, state=Lifecycle.DISPUTED, dispute_initiated_at_s=NOON_S + 60)
    await bench.core.handle(Batch("gateway", 9, bench.core.epochs, (AdoptMarket(account.market_id, account),)))
    assert bench.deadline() == Deadline(END_S + 60, ClockName.CHAIN)


async def test_a_longer_period_moves_a_window_that_is_open(bench: Bench) -> None:
    await bench.adopt()
    await bench.hear(NOON_S + 2, dispute_period_s=2 * PERIOD_S)
    assert bench.deadline() == Deadline(END_S + PERIOD_S, ClockName.CHAIN)
    assert await bench.hear(END_S, dispute_period_s=2 * PERIOD_S) == []
    assert await bench.hear(END_S + PERIOD_S, dispute_period_s=2 * PERIOD_S) == [Action.FINALIZE]


async def test_a_shorter_period_ends_windows_at_once_also_of_markets_that_sleep(bench: Bench) -> None:
    await bench.adopt(1)
    await bench.adopt(2, Lifecycle.RESOLVING)
    await bench.restart()
    assert await bench.hear(NOON_S + 90) == []
    assert await bench.hear(NOON_S + 100, dispute_period_s=60) == [Action.FINALIZE] * 2


async def test_a_period_that_changed_while_nobody_lived_counts_after_the_start(bench: Bench) -> None:
    await bench.adopt()
    await MemoryTransactionStore(bench.database).save_config(config(slot=99, dispute_period_s=60))
    await bench.restart()
    bench._slot = 99
    assert await bench.hear(NOON_S + 100, dispute_period_s=60) == [Action.FINALIZE]


async def test_a_dispute_that_is_held_is_ended_after_a_start_with_another_policy(bench: Bench) -> None:
    bench.zero_votes = ZeroVotes.HOLD
    await bench.restart()
    await bench.hear(NOON_S + 1)
    await bench.adopt()
    assert await bench.hear(END_S) == []
    held = bench.deadline()
    assert held is not None and held.at_s > END_S + 20 * 86_400, "only the look whether it is stuck"
    assert [alert.alert_type for alert in bench.database.tables.alerts.values()] == ["dispute_without_votes"]
    bench.zero_votes = ZeroVotes.INVALIDATE
    await bench.restart()
    assert await bench.hear(END_S + 1) == [Action.INVALIDATE]


async def test_no_operator_ends_a_window_before_the_chains_clock_is_known(bench: Bench) -> None:
    await bench.adopt()
    await MemoryTransactionStore(bench.database).save_config(config())
    await bench.restart()
    bench.wall.s = END_S + 1.0
    batch = Batch("gateway", 9, bench.core.epochs, (AggregateNow(market_id()),))
    (answer,) = await bench.core.handle(batch)
    assert isinstance(answer, Done)
    (row,) = bench.database.tables.aggregations.values()
    assert (row.note.status, row.note.reason) == ("skipped", "the chain's clock was not read yet")


async def test_skips_of_a_tick_are_written_once_and_those_of_an_operator_each_time(bench: Bench) -> None:
    await bench.adopt()
    for minutes in range(0, 60, 5):
        await bench.hear(END_S + minutes * 60, may_aggregate=False)
    assert len(bench.database.tables.aggregations) == 1
    for number in range(3):
        await bench.core.handle(Batch("gateway", 20 + number, bench.core.epochs, (AggregateNow(market_id()),)))
    reasons = [row.note.reason for row in bench.database.tables.aggregations.values()]
    assert reasons == ["backend key is not the authority"] * 4


async def test_a_stuck_market_is_told_once_a_day_across_restarts_and_downtime(bench: Bench) -> None:
    # given a market that is disputed and held, on which nothing happens for 30 days and more
    bench.zero_votes = ZeroVotes.HOLD
    await bench.restart()
    await bench.hear(NOON_S + 1)
    await bench.adopt()
    stuck_s = NOON_S + 30 * 86_400

    def told() -> list[str]:
        alerts = bench.database.tables.alerts.values()
        return sorted(alert.dedupe_key[-10:] for alert in alerts if alert.alert_type == "stuck_market")

    # when it is looked at every six hours by processes that die in between, and by nobody for two days
    for hours in [*range(-24, 72, 6), *range(120, 168, 6)]:
        await bench.hear(stuck_s + hours * 3_600)
        await bench.restart()
        await bench.hear(stuck_s + hours * 3_600 + 60)
    # then each day on which anybody was here has one alert, and no day has two
    assert told() == ["2025-12-07", "2025-12-08", "2025-12-09", "2025-12-12", "2025-12-13"]
