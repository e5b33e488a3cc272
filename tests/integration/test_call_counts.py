"""Limits counted in a real Valkey: shared by servers, gone after their minute, replaced while it is away."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from prometheus_client import REGISTRY
from redis.asyncio import Redis

from app.wiring_limits import Counts
from chain.breaker import Breaker
from identity import Allowances, Tier
from storage import call_counts
from storage.call_counts import CountsUnavailable, SharedCounts
from tests.support.valkey import ValkeyServer

LIMIT = 100


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine that stands for a quarter of a second is no outage here."""
    monkeypatch.setattr(call_counts, "ANSWER_S_MAX", 60.0)


class Clock:
    at_s = 6_000.0

    def __call__(self) -> float:
        return self.at_s


@asynccontextmanager
async def servers(valkey: ValkeyServer, clock: Clock, number: int) -> AsyncIterator[list[Allowances]]:
    """Servers of one deployment, each with a breaker that opens at the second failure and tries again after 60 s."""
    shared = [SharedCounts(valkey.url) for _ in range(number)]
    counts = [Counts(each, Breaker(clock, (CountsUnavailable,), 2, 60.0).attempt) for each in shared]
    try:
        yield [Allowances(each, {Tier.ANONYMOUS: LIMIT}, clock) for each in counts]
    finally:
        for each in shared:
            await each.close()


async def admitted(allowances: Allowances, calls: int, caller: str = "a") -> int:
    standings = await asyncio.gather(*(allowances.take(Tier.ANONYMOUS, caller) for _ in range(calls)))
    return sum(standing.is_admitted for standing in standings)


def figure(name: str) -> float:
    value = REGISTRY.get_sample_value(name)
    assert value is not None
    return value


async def test_two_servers_share_a_callers_minute_and_its_count_ends_by_itself(valkey: ValkeyServer) -> None:
    async with servers(valkey, Clock(), 2) as (one, two), valkey.client() as client:
        assert await admitted(one, 60) + await admitted(two, 200) + await admitted(one, 200) == LIMIT
        (key,) = [key async for key in client.scan_iter("*call_limit*")]
        assert 0 < await client.ttl(key) <= 60


async def test_a_server_limits_by_itself_while_redis_is_away_and_asks_again_later(valkey: ValkeyServer) -> None:
    clock, before = Clock(), figure("zmart_limit_fallbacks_total")
    async with servers(valkey, clock, 1) as (server,):
        assert await admitted(server, 10) == 10
        assert (figure("zmart_limits_local"), figure("zmart_limit_fallbacks_total")) == (0, before)
        await valkey.kill()
        assert await admitted(server, 200, "b") == LIMIT
        assert figure("zmart_limits_local") == 1
        assert (fallbacks := figure("zmart_limit_fallbacks_total")) > before
        await valkey.start()
        clock.at_s += 60
        assert await admitted(server, 200, "b") == LIMIT
        assert (figure("zmart_limits_local"), figure("zmart_limit_fallbacks_total")) == (0, fallbacks)
        async with valkey.client() as client:
            assert [key async for key in client.scan_iter("*call_limit*")]


async def test_a_redis_that_hangs_costs_its_wait_twice_and_then_nobody_waits(
    valkey: ValkeyServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(call_counts, "ANSWER_S_MAX", 0.25)
    clock = Clock()
    async with servers(valkey, clock, 1) as (server,):
        valkey.freeze()
        try:
            assert await admitted(server, 200) == LIMIT
        finally:
            valkey.thaw()
        async with valkey.client() as client:
            totals = [int(await client.get(key) or 0) async for key in client.scan_iter("*call_limit*")]
        assert sum(totals) <= 2 * (LIMIT // 5)


async def test_callers_of_one_turn_are_counted_in_one_exchange_each_by_itself(valkey: ValkeyServer) -> None:
    shared = SharedCounts(valkey.url)
    async with valkey.client() as client:
        await shared.add("first", 1, 60)
        before = await _reads(client)
        counts = await asyncio.gather(*(shared.add(f"caller {number % 40}", number, 60) for number in range(80)))
        assert counts[40:] == [40 + 2 * number for number in range(40)], "each has its own, and what came before it"
        assert await _reads(client) - before < 40, "together, not one by one"
    await shared.close()


async def test_a_redis_that_forgot_the_script_is_taught_it_again(valkey: ValkeyServer) -> None:
    shared = SharedCounts(valkey.url)
    async with valkey.client() as client:
        assert await shared.add("a", 2, 60) == 2
        await client.script_flush()
        assert sorted(await asyncio.gather(shared.add("a", 3, 60), shared.add("a", 3, 60))) == [5, 8]
    await shared.close()


async def test_a_caller_that_gives_up_leaves_the_others_their_counts(valkey: ValkeyServer) -> None:
    shared = SharedCounts(valkey.url)
    leaving = asyncio.create_task(shared.add("a", 1, 60))
    staying = asyncio.create_task(shared.add("a", 1, 60))
    await asyncio.sleep(0)
    leaving.cancel()
    assert await staying == 2, "it was counted, for it had asked"
    await shared.close()


async def _reads(client: Redis) -> int:
    """How often the server has read something from a client so far."""
    return int((await client.info("stats"))["total_reads_processed"])
