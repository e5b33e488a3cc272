"""Leases of a minute's calls: exact in one server, never more than the limit in several, few questions asked."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest

from identity import Allowances, Standing, Tier

LIMITS = {Tier.ANONYMOUS: 100, Tier.WALLET: 1_000, Tier.SERVICE: 10_000, Tier.ADMIN: 0}


class Counts:
    """The shared count; `gate` holds answers back."""

    def __init__(self) -> None:
        self.totals: Counter[str] = Counter()
        self.asked = 0
        self.gate = asyncio.Event()
        self.gate.set()

    async def add(self, key: str, calls: int, ttl_s: int) -> int:
        self.asked += 1
        assert ttl_s == 60
        self.totals[key] += calls
        total = self.totals[key]
        await self.gate.wait()
        return total


class Clock:
    at_s = 6_000.0

    def __call__(self) -> float:
        return self.at_s


@pytest.fixture
def counts() -> Counts:
    return Counts()


@pytest.fixture
def clock() -> Clock:
    return Clock()


def server(counts: Counts, clock: Clock, callers_max: int = 10) -> Allowances:
    return Allowances(counts, LIMITS, clock, callers_max)


async def taken(allowances: Allowances, calls: int, tier: Tier = Tier.ANONYMOUS, caller: str = "a") -> list[Standing]:
    return [await allowances.take(tier, caller) for _ in range(calls)]


@pytest.mark.parametrize(("tier", "limit"), [(Tier.ANONYMOUS, 100), (Tier.WALLET, 1_000), (Tier.SERVICE, 10_000)])
async def test_one_server_lets_exactly_a_minutes_calls_through(
    counts: Counts, clock: Clock, tier: Tier, limit: int
) -> None:
    standings = await taken(server(counts, clock), limit + 50, tier)
    assert [standing.is_admitted for standing in standings] == [True] * limit + [False] * 50
    assert [standing.remaining for standing in standings[:limit]] == list(range(limit - 1, -1, -1))
    assert counts.asked < 50


async def test_the_next_minute_is_whole_again(counts: Counts, clock: Clock) -> None:
    allowances = server(counts, clock)
    clock.at_s = 6_017.9
    assert (await taken(allowances, 101))[-1] == Standing(100, 0, 43, is_admitted=False)
    clock.at_s = 6_060.0
    assert (await taken(allowances, 1))[0] == Standing(100, 99, 60, is_admitted=True)


async def test_servers_together_never_let_more_through_than_the_limit(counts: Counts, clock: Clock) -> None:
    servers = [server(counts, clock) for _ in range(3)]
    admitted = 0
    for _ in range(100):
        for each in servers:
            admitted += (await each.take(Tier.ANONYMOUS, "a")).is_admitted
    assert admitted == 100


async def test_calls_at_once_share_one_lease(counts: Counts, clock: Clock) -> None:
    counts.gate.clear()
    allowances = server(counts, clock)
    calls = [asyncio.create_task(allowances.take(Tier.WALLET, "a")) for _ in range(50)]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert counts.asked == 1
    calls.pop().cancel()
    counts.gate.set()
    assert all(standing.is_admitted for standing in await asyncio.gather(*calls))
    assert counts.asked == 1


async def test_a_refused_caller_costs_no_more_questions(counts: Counts, clock: Clock) -> None:
    allowances = server(counts, clock)
    await taken(allowances, 100)
    asked = counts.asked
    await taken(allowances, 500)
    assert counts.asked == asked


async def test_more_callers_than_are_remembered_are_counted_all_the_same(counts: Counts, clock: Clock) -> None:
    allowances = server(counts, clock, callers_max=2)
    for number in range(20):
        assert (await allowances.take(Tier.ANONYMOUS, f"caller {number}")).is_admitted
    assert len(allowances._leases) == 2


async def test_callers_do_not_share(counts: Counts, clock: Clock) -> None:
    allowances = server(counts, clock)
    await taken(allowances, 101)
    assert (await taken(allowances, 1, caller="b"))[0].is_admitted
    assert not allowances.is_limited(Tier.ADMIN)
