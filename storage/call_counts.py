"""Calls counted in Redis for all servers, or in this process alone, by the library `limits`."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, NamedTuple

from limits.aio.storage import MemoryStorage, RedisStorage
from redis.exceptions import NoScriptError

from storage.redis_client import REDIS_TROUBLE, connect_redis

ANSWER_S_MAX = 0.25
"""A call waits for its count no longer than this."""
PREFIX = "call_limit"
TOGETHER_MAX = 256
"""Counts that are asked for in one exchange; one more begins the next."""


class CountsUnavailable(OSError):
    """Redis did not count; it may have, unseen."""


class _Asked(NamedTuple):
    """A call's question, and where it waits for the answer."""

    key: str
    ttl_s: int
    calls: int
    answer: asyncio.Future[int]


class SharedCounts:
    """Counts in Redis that end by themselves; all that are asked for in one turn of the event loop share an exchange.

    An exchange for each cost 150 us of CPU, and callers who are new this minute each have one.
    """

    def __init__(self, redis_url: str) -> None:
        self._redis = connect_redis(redis_url, ANSWER_S_MAX)
        pool: Any = self._redis.connection_pool  # a documented option that the library's types leave out
        self._counts = RedisStorage(redis_url, implementation="redispy", key_prefix=PREFIX, connection_pool=pool)
        self._waiting: list[_Asked] = []
        self._exchanges: set[asyncio.Task[None]] = set()

    async def add(self, key: str, calls: int, ttl_s: int) -> int:
        """Add to a count, atomically, and return what it comes to; raises CountsUnavailable."""
        loop = asyncio.get_running_loop()
        if not self._waiting:
            loop.call_soon(self._ask)
        asked = _Asked(key, ttl_s, calls, loop.create_future())
        self._waiting.append(asked)
        if len(self._waiting) >= TOGETHER_MAX:
            self._ask()
        return await asked.answer

    def _ask(self) -> None:
        asked, self._waiting = self._waiting, []
        if not asked:
            return  # they went before the turn ended
        exchange = asyncio.create_task(self._answer(asked), name="call counts")
        self._exchanges.add(exchange)
        exchange.add_done_callback(self._exchanges.discard)

    async def _answer(self, asked: Sequence[_Asked]) -> None:
        """Tell each caller its count, or that there is none; a caller that has gone is counted all the same."""
        try:
            counts: Sequence[int | BaseException] = await self._counted(asked)
        except (*REDIS_TROUBLE, asyncio.CancelledError) as error:
            counts = [error] * len(asked)
        for each, count in zip(asked, counts, strict=True):
            if each.answer.done():
                continue
            if isinstance(count, BaseException):
                each.answer.set_exception(CountsUnavailable(str(count) or type(count).__name__))
            else:
                each.answer.set_result(int(count))

    async def _counted(self, asked: Sequence[_Asked]) -> Sequence[int | BaseException]:
        """The counts in order, by the library's script; a Redis that does not know it yet is taught by the library."""
        bridge: Any = self._counts.bridge
        async with self._redis.pipeline(transaction=False) as pipe:
            for each in asked:
                pipe.evalsha(
                    bridge.lua_incr_expire.sha, 1, bridge.prefixed_key(each.key), str(each.ttl_s), str(each.calls)
                )
            counts = await pipe.execute(raise_on_error=False)
        for place, count in enumerate(counts):
            if isinstance(count, NoScriptError):
                counts[place] = await self._counts.incr(asked[place].key, asked[place].ttl_s, asked[place].calls)
        return counts

    async def close(self) -> None:
        """End what is being asked, and give the connections back."""
        for exchange in self._exchanges:
            exchange.cancel()
        await asyncio.gather(*self._exchanges, return_exceptions=True)
        await self._redis.aclose()
        await self._redis.connection_pool.disconnect()


class OwnCounts:
    """The same in memory, for as long as Redis is away; ended counts are cleared away by the library."""

    def __init__(self) -> None:
        self._counts = MemoryStorage()

    async def add(self, key: str, calls: int, ttl_s: int) -> int:
        """Add to a count and return what it comes to."""
        return int(await self._counts.incr(key, ttl_s, calls))
