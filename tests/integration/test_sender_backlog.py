"""Many attempts at once cost few questions: one simulation stands for others like it, one read for all that landed."""

from __future__ import annotations

import uuid
from collections import Counter

from chain.ledger.seeding import ResolvingMarket, put_resolving
from chain.rehearsals import BACKLOG_MIN
from chain.sender_settings import SenderSettings
from domain.ids import MarketId
from domain.intents import OPEN_STATUSES, Action, Intent, IntentStatus
from storage.memory_tables import Attempt
from tests.support.eventually import eventually_async
from tests.support.ledger import START_UNIX_S, market_id
from tests.support.sender_bench import Bench, running

PERIOD_S = 259_200
MANY = BACKLOG_MIN + 8


def plan_ends(bench: Bench, count: int, first: int = 100) -> list[MarketId]:
    """Markets whose window has ended, each with an attempt to end it."""
    ids = [market_id(first + number) for number in range(count)]
    put_resolving(bench.chain.ledger.node, [ResolvingMarket(each, START_UNIX_S - PERIOD_S - 60) for each in ids])
    for _ in range(40):
        bench.chain.ledger.tick()
    for each in ids:
        intent = Intent(str(uuid.uuid4()), each, Action.FINALIZE, 1, None, None)
        bench.database.tables.attempts[intent.intent_id] = Attempt(intent)
    return ids


async def all_ended(bench: Bench) -> bool:
    return all(row.status not in OPEN_STATUSES for row in bench.database.tables.attempts.values())


async def test_a_backlog_is_sent_with_few_simulations_and_read_in_few_questions(bench: Bench) -> None:
    ids = plan_ends(bench, MANY)
    async with running(bench):
        await eventually_async(lambda: all_ended(bench), timeout_s=60)
    asked = Counter(bench.proxy.seen)
    assert asked["simulateTransaction"] <= SenderSettings().concurrency, (
        "one for each that began before the first ended"
    )
    assert asked["sendTransaction"] == MANY
    assert asked["getAccountInfo"] == 0
    assert 1 <= asked["getMultipleAccounts"] < MANY // 4
    rows = bench.database.tables.attempts.values()
    assert {row.intent.market_id for row in rows if row.observed and row.observed.state.name == "FINALIZED"} == set(ids)


async def test_a_few_attempts_are_each_simulated(bench: Bench) -> None:
    plan_ends(bench, 3)
    async with running(bench):
        await eventually_async(lambda: all_ended(bench), timeout_s=60)
    assert Counter(bench.proxy.seen)["simulateTransaction"] == 3


async def test_one_of_a_backlog_that_cannot_land_fails_by_its_own_preflight(bench: Bench) -> None:
    early = market_id(99)
    put_resolving(bench.chain.ledger.node, [ResolvingMarket(early, START_UNIX_S - 60)])
    plan_ends(bench, MANY)
    intent = Intent(str(uuid.uuid4()), early, Action.FINALIZE, 1, None, None)
    bench.database.tables.attempts[intent.intent_id] = Attempt(intent)

    async with running(bench):
        await eventually_async(lambda: all_ended(bench), timeout_s=60)
    assert bench.row(intent).status is IntentStatus.FAILED
    assert bench.row(intent).error_name == "DisputePeriodNotEnded"
