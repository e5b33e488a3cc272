"""Many markets that fall due at the same instant of the grid are all aggregated, each exactly once."""

from __future__ import annotations

import itertools
import os
import signal
from collections import Counter
from collections.abc import Sequence

import asyncpg
import grpc
import psutil
import pytest
from solders.keypair import Keypair

from app.connection import read_connection
from app.demo.story import GRID_S
from domain.ids import MarketId
from tests.support.eventually import eventually_async
from tests.support.system import RunningSystem, create_markets, new_market_id
from zmart.v1 import vote_service_pb2, vote_service_pb2_grpc

AT_ONCE = 100
AGGREGATED_S_MAX = 60.0
"""The bound of the contract for 500 due markets; the small run is held to the same."""
LANDED = "SELECT market_id, action, status, yes, no FROM chain_transactions WHERE market_id = ANY($1)"


async def bulk(system: RunningSystem, markets: Sequence[MarketId], words: Sequence[str]) -> None:
    """One vote of a new wallet on each market, by an internal service."""
    wallet = str(Keypair().pubkey())
    metadata = (("x-service-key", system.connection["service_key"]),)
    votes = [
        vote_service_pb2.BulkVote(user_pubkey=wallet, market_id=market, vote=word)
        for market, word in zip(markets, words, strict=True)
    ]
    async with grpc.aio.insecure_channel(system.connection["grpc_target"]) as channel:
        stub = vote_service_pb2_grpc.VoteServiceStub(channel)
        answer = await stub.CastVotes(vote_service_pb2.CastVotesRequest(votes=votes), metadata=metadata, timeout=60)
    assert [result.success for result in answer.results] == [True] * len(markets)


def kill_agent(system: RunningSystem) -> None:
    """The chain agent: the supervisor's child that owns no virtual shard."""
    pids = read_connection(system.data_dir)["pids"]
    for child in psutil.Process(pids["supervisor"][0]).children():
        if child.pid not in pids["shard"]:
            os.kill(child.pid, signal.SIGKILL)


async def aggregate(system: RunningSystem, count: int, kills: int) -> None:
    markets = [new_market_id() for _ in range(count)]
    words = [word for word, _ in zip(itertools.cycle(("like", "dislike")), markets, strict=False)]
    database = await asyncpg.connect(system.connection["database_url"])
    async with system.doors() as doors:
        for start in range(0, count, AT_ONCE):
            await create_markets(doors, markets[start : start + AT_ONCE])
            await bulk(system, markets[start : start + AT_ONCE], words[start : start + AT_ONCE])
        await doors.advance_clock(GRID_S)
        for turn in range(kills):
            await landed(database, markets, (turn + 1) * count // (kills + 2))
            kill_agent(system)
        await landed(database, markets, count)
        accounts = [await doors.account_bytes(market) for market in markets[:5]]
    rows = await database.fetch(LANDED, markets)
    await database.close()
    assert Counter(row["market_id"] for row in rows) == Counter(markets), "one attempt for each market, and no second"
    assert {(row["yes"], row["no"]) for row in rows} == {(1, 0), (0, 1)}
    pairs = [tuple(int.from_bytes(raw[at : at + 4], "little") for at in (313, 317)) for raw in accounts]
    assert pairs == [(1, 0) if word == "like" else (0, 1) for word in words[:5]]


async def landed(database: asyncpg.Connection, markets: Sequence[MarketId], count: int) -> None:
    """Wait until so many of the markets' transactions are confirmed."""

    async def there() -> bool:
        rows = await database.fetch(LANDED, markets)
        return sum(row["status"] in ("confirmed", "finalized") for row in rows) >= count

    await eventually_async(there, timeout_s=AGGREGATED_S_MAX)


async def test_due_markets_are_aggregated_once_though_the_agent_dies_among_them(own_system: RunningSystem) -> None:
    await aggregate(own_system, count=30, kills=2)


@pytest.mark.long
async def test_five_hundred_due_markets_are_aggregated_within_a_minute(own_system: RunningSystem) -> None:
    await aggregate(own_system, count=500, kills=0)


@pytest.mark.long
@pytest.mark.timeout(400)
async def test_five_hundred_due_markets_survive_the_deaths_of_their_agent(own_system: RunningSystem) -> None:
    await aggregate(own_system, count=500, kills=5)
