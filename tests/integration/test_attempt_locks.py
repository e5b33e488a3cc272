"""Aggregation locks in a real Valkey: whose they are, how long, and that nothing depends on them (T11, T12)."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from redis.asyncio import Redis
from structlog.testing import capture_logs

from chain.client import ChainReader
from chain.sender import Sender
from chain.sender_settings import SenderSettings
from domain.intents import Action, Intent, IntentStatus, Settlement
from domain.tally import VoteType
from storage.attempt_locks import AttemptLocks, LockSettings, lock_name
from storage.memory_tables import Attempt
from storage.transactions import TransitionRefused
from tests.support.eventually import eventually_async
from tests.support.markets import market, market_id
from tests.support.rpc_proxy import Fault
from tests.support.sender_bench import Bench, running
from tests.support.storage import PostgresGround, adopted, own, planned
from tests.support.valkey import ValkeyServer

PATIENT = LockSettings(answer_timeout_s=60.0)
"""A loaded machine is no outage."""
NOBODY = "redis://127.0.0.1:1/0"
KEY = lock_name(market_id(), VoteType.PROPOSAL)


def intent(name: str, action: Action = Action.AGGREGATE_PROPOSAL) -> Intent:
    return Intent(name, market_id(), action, 1, 7, 3)


OURS, THEIRS = intent("ours"), intent("theirs")


@dataclass
class Locksmith:
    """Makes agents with locks in one Valkey; the waits between their renewals end when the test says so."""

    valkey: ValkeyServer
    redis: Redis
    now_s: float = 0.0
    opened: list[AttemptLocks] = field(default_factory=list)
    renew: asyncio.Event = field(default_factory=asyncio.Event)

    def agent(self, settings: LockSettings = PATIENT) -> AttemptLocks:
        self.opened.append(AttemptLocks(self.valkey.url, settings, lambda: self.now_s, self._sleep))
        return self.opened[-1]

    async def _sleep(self, _: float) -> None:
        await self.renew.wait()
        self.renew.clear()

    @contextlib.asynccontextmanager
    async def renewing(self, agent: AttemptLocks) -> AsyncIterator[None]:
        task = asyncio.create_task(agent.run())
        self.renew.set()
        yield
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task

    async def owner(self, key: str = KEY) -> str | None:
        owner = await self.redis.get(key)
        assert not isinstance(owner, bytes)
        return owner


@pytest.fixture
async def smith(valkey: ValkeyServer) -> AsyncIterator[Locksmith]:
    smith = Locksmith(valkey, valkey.client())
    yield smith
    for agent in smith.opened:
        await agent.close()
    await smith.redis.aclose()


async def test_the_first_to_come_holds_the_lock_and_the_other_waits_until_it_is_given_back(smith: Locksmith) -> None:
    first, second = smith.agent(), smith.agent()
    with capture_logs() as logs:
        await first.hold([OURS])
        for _ in range(3):
            await second.hold([THEIRS])
    assert (first.may_step(OURS), second.may_step(THEIRS)) == (True, False)
    assert [line["intent_id"] for line in logs] == ["theirs"]
    assert 50_000 < await smith.redis.pttl(KEY) <= 60_000
    await first.hold([])
    await second.hold([THEIRS])
    assert (second.may_step(THEIRS), await smith.owner()) == (True, "theirs")


async def test_an_agent_that_was_restarted_goes_on_with_its_own_attempt_at_once(smith: Locksmith) -> None:
    await smith.agent().hold([OURS])
    restarted = smith.agent()
    await restarted.hold([OURS])
    assert (restarted.may_step(OURS), await smith.owner()) == (True, "ours")


async def test_a_lock_is_renewed_for_as_long_as_its_attempt_is_in_hand(smith: Locksmith) -> None:
    agent = smith.agent()
    await agent.hold([OURS])
    await smith.redis.pexpire(KEY, 20_000)

    async def renewed() -> bool:
        return int(await smith.redis.pttl(KEY)) > 20_000

    async with smith.renewing(agent):
        await eventually_async(renewed)


async def test_a_lock_that_a_dead_agent_left_ends_by_itself(smith: Locksmith) -> None:
    await smith.agent(replace(PATIENT, ttl_s=0.2)).hold([OURS])
    heir = smith.agent()

    async def inherited() -> bool:
        await heir.hold([THEIRS])
        return await smith.owner() == "theirs"

    await eventually_async(inherited)
    assert heir.may_step(THEIRS)


async def test_work_on_an_attempt_stops_when_renewal_finds_somebody_elses_lock_until_that_is_gone(
    smith: Locksmith,
) -> None:
    agent = smith.agent()
    await agent.hold([OURS])
    await smith.redis.set(KEY, "theirs", px=60_000)

    async def stopped() -> bool:
        return not agent.may_step(OURS)

    async with smith.renewing(agent):
        with capture_logs() as logs:
            await eventually_async(stopped)
            await agent.hold([OURS])
    assert (agent.may_step(OURS), len(logs)) == (False, 1)
    await agent.hold([])
    assert await smith.owner() == "theirs", "compare-and-delete: another's lock is never taken away"
    await smith.redis.delete(KEY)
    await agent.hold([OURS])
    assert (agent.may_step(OURS), await smith.owner()) == (True, "ours")


async def test_a_lock_that_was_deleted_is_taken_again(smith: Locksmith) -> None:
    agent = smith.agent()
    await agent.hold([OURS])
    await smith.redis.flushall()

    async def back() -> bool:
        smith.renew.set()
        await agent.hold([OURS])
        return await smith.owner() == "ours"

    async with smith.renewing(agent):
        await eventually_async(back)


async def test_attempts_that_count_no_votes_need_no_lock(smith: Locksmith) -> None:
    agent, approval = smith.agent(), intent("approval", Action.APPROVE)
    await smith.agent().hold([THEIRS])
    await agent.hold([approval])
    assert agent.may_step(approval)


async def test_without_redis_everything_may_go_on_and_that_is_said_once(smith: Locksmith) -> None:
    agent = smith.agent()
    await smith.agent().hold([THEIRS])
    await agent.hold([OURS])
    assert not agent.may_step(OURS)
    await smith.valkey.kill()
    with capture_logs() as logs:
        for _ in range(3):
            await agent.hold([OURS])
            smith.now_s += PATIENT.retry_s
            assert agent.may_step(OURS)
        await smith.valkey.start()
        await agent.hold([OURS])
    assert [line["event"] for line in logs] == ["outage", "outage is over"]
    assert await smith.owner() == "ours"


async def test_a_redis_that_hangs_is_asked_once_in_a_while_and_keeps_nobody_waiting(smith: Locksmith) -> None:
    agent = smith.agent()
    await agent.hold([OURS])
    hanging = smith.agent(LockSettings(answer_timeout_s=0.05))
    smith.valkey.freeze()
    await hanging.hold([THEIRS])
    smith.valkey.thaw()
    await hanging.hold([THEIRS])
    assert hanging.may_step(THEIRS), "it was not asked again yet, so it could not say no"
    smith.now_s += PATIENT.retry_s

    async def told() -> bool:
        await hanging.hold([THEIRS])
        smith.now_s += PATIENT.retry_s
        return not hanging.may_step(THEIRS)

    await eventually_async(told)


async def test_what_was_settled_during_an_outage_is_given_back_after_it(smith: Locksmith) -> None:
    agent = smith.agent(LockSettings())
    await agent.hold([OURS])
    smith.valkey.freeze()
    await agent.hold([])
    smith.valkey.thaw()
    assert await smith.owner() == "ours"
    smith.now_s += PATIENT.retry_s

    async def given_back() -> bool:
        await agent.hold([THEIRS])
        smith.now_s += PATIENT.retry_s
        return await smith.owner() == "theirs"

    await eventually_async(given_back)


# --- the sender, over a real ledger -----------------------------------------------------------------------------------


async def test_a_lock_is_taken_before_signing_and_given_back_when_the_attempt_has_settled(
    bench: Bench, smith: Locksmith
) -> None:
    bench.locks = smith.agent()
    planned_intent = bench.plan()
    key = lock_name(bench.market, VoteType.PROPOSAL)
    owners: list[str | None] = []
    sign = bench.store.mark_signed

    async def watched(*arguments: Any) -> None:
        owners.append(await smith.owner(key))
        await sign(*arguments)

    bench.store.mark_signed = watched  # type: ignore[assignment, method-assign]
    bench.restarted()

    async def given_back() -> bool:
        return bool(bench.settlements) and await smith.owner(key) is None

    async with running(bench):
        await eventually_async(given_back)
    assert owners == [planned_intent.intent_id]


async def test_a_lock_keeps_two_deployments_from_running_one_market_at_once(bench: Bench, smith: Locksmith) -> None:
    """The specification's "Distributed lock prevents concurrent runs": each has rows of its own, Redis is shared."""
    bench.locks = smith.agent()
    bench.restarted()
    other = Bench(bench.chain, bench.proxy, bench.market, locks=smith.agent())
    ours = bench.plan()
    theirs = replace(ours, intent_id="10000000-0000-0000-0000-000000000001", yes=8)
    other.database.tables.attempts[theirs.intent_id] = Attempt(theirs)
    bench.proxy.fail(Fault.SWALLOW_SEND, "sendTransaction")
    try:
        async with running(bench):
            await eventually_async(lambda: _is(bench.row(ours).status is IntentStatus.SENT))
            async with running(other) as wake:
                await eventually_async(lambda: _is(not other.locks.may_step(theirs)))  # type: ignore[union-attr]
                assert other.row(theirs).status is IntentStatus.PLANNED
                bench.proxy.heal()

                async def all_settled() -> bool:
                    wake.set()
                    return bool(bench.settlements and other.settlements)

                await eventually_async(all_settled)
    finally:
        await other.close()
    assert [end.status for end in (*bench.settlements, *other.settlements)] == [IntentStatus.CONFIRMED] * 2
    assert await bench.executions() == [other.settlements[0].signature, bench.settlements[0].signature]


async def test_two_senders_on_one_database_without_redis_execute_once(
    bench: Bench, real_ground: PostgresGround
) -> None:
    before = market(market_id=bench.market)
    change = planned(before)
    journal = await real_ground.journal()
    epochs = await own(journal)
    for step in (adopted(before), change):
        async with journal.transaction(epochs) as transaction:
            await transaction.save([step])
    settlements: list[Settlement] = []
    agents = [asyncio.create_task(_agent(bench, real_ground, settlements.append)) for _ in range(2)]
    await eventually_async(lambda: _is(bool(settlements)))
    for agent in agents:
        agent.cancel()
    await asyncio.gather(*agents, return_exceptions=True)
    assert {end.intent for end in settlements} == set(change.planned)
    assert await bench.executions() == [settlements[0].signature]


async def _agent(bench: Bench, ground: PostgresGround, on_settled: Callable[[Settlement], None]) -> None:
    """An agent that is started again, as its supervisor would, when it meets the other's marks."""
    while True:
        locks = AttemptLocks(NOBODY)
        reader = ChainReader.connect(bench.proxy.url, bench.chain.ledger.settings.program_id)
        sender = Sender(
            reader,
            bench.chain.signing_keys,
            ground.store,
            settings=SenderSettings(idle_s=0.01),
            locks=locks,
            sleep=bench.sleep,
        )
        try:
            with contextlib.suppress(TransitionRefused):
                await sender.run(asyncio.Event(), on_settled)
        finally:
            await locks.close()
            await reader.close()


async def _is(fact: bool) -> bool:
    return fact
