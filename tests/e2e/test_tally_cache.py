"""The specification's keys in Redis, on a whole system: equal to the database, whoever deletes them or kills Redis."""

from __future__ import annotations

import asyncio
import os
import signal
from typing import Any

import asyncpg
import redis.asyncio
from redis.exceptions import RedisError
from solders.keypair import Keypair

from app.connection import read_connection
from app.demo.doors import Doors
from domain.ids import MarketId
from tests.support.eventually import eventually_async
from tests.support.system import RunningSystem, create_markets, new_market_id

Tally = tuple[Any, Any, frozenset[str]]


async def cast(system: RunningSystem, doors: Doors, market: MarketId, likes: int, dislikes: int) -> None:
    """Votes of new wallets, all at once."""
    words = ["like"] * likes + ["dislike"] * dislikes
    await asyncio.gather(*(doors.cast(system.token(Keypair()), market, word) for word in words))


async def stored(system: RunningSystem, market: MarketId) -> Tally:
    database = await asyncpg.connect(system.connection["database_url"])
    rows = await database.fetch("SELECT user_pubkey, vote FROM vote_records WHERE market_id = $1", market)
    await database.close()
    yes = sum(row["vote"] for row in rows)
    return str(yes), str(len(rows) - yes), frozenset(row["user_pubkey"] for row in rows)


async def cached(system: RunningSystem, market: MarketId) -> Tally | None:
    client = redis.asyncio.Redis.from_url(system.connection["redis_url"], decode_responses=True)
    try:
        yes, no = await client.mget(f"vote_tally:{market}:proposal:yes", f"vote_tally:{market}:proposal:no")
        return yes, no, frozenset(map(str, await client.smembers(f"vote_set:{market}:proposal")))
    except (RedisError, OSError):
        return None
    finally:
        await client.aclose()


async def become_equal(system: RunningSystem, market: MarketId) -> None:
    async def equal() -> bool:
        return await cached(system, market) == await stored(system, market)

    await eventually_async(equal, timeout_s=60)


async def test_the_keys_follow_the_votes_through_deletion_and_the_death_of_redis(own_system: RunningSystem) -> None:
    market = new_market_id()
    async with own_system.doors() as doors:
        await create_markets(doors, [market])
        await cast(own_system, doors, market, likes=2, dislikes=5)
        await become_equal(own_system, market)

        client = redis.asyncio.Redis.from_url(own_system.connection["redis_url"])
        await client.flushall()
        await client.aclose()
        assert await cached(own_system, market) == (None, None, frozenset())
        await doors.tally(market)
        await become_equal(own_system, market)

        os.kill(read_connection(own_system.data_dir)["pids"]["valkey"][0], signal.SIGKILL)
        await cast(own_system, doors, market, likes=1, dislikes=3)
        assert (await stored(own_system, market))[:2] == ("3", "8")
        await become_equal(own_system, market)
