"""Calls counted in Redis for all servers, or in this process alone, by the library `limits`."""

from __future__ import annotations

from typing import Any

from limits.aio.storage import MemoryStorage, RedisStorage

from storage.redis_client import REDIS_TROUBLE, connect_redis, heed_cancellation

ANSWER_S_MAX = 0.25
"""A call waits for its count no longer than this."""
PREFIX = "call_limit"


class CountsUnavailable(OSError):
    """Redis did not count; it may have, unseen."""


class SharedCounts:
    """Counts in Redis that end by themselves."""

    def __init__(self, redis_url: str) -> None:
        self._redis = connect_redis(redis_url, ANSWER_S_MAX)
        pool: Any = self._redis.connection_pool  # a documented option that the library's types leave out
        self._counts = RedisStorage(redis_url, implementation="redispy", key_prefix=PREFIX, connection_pool=pool)

    async def add(self, key: str, calls: int, ttl_s: int) -> int:
        """Add to a count, atomically, and return what it comes to; raises CountsUnavailable."""
        try:
            return int(await self._counts.incr(key, ttl_s, calls))
        except REDIS_TROUBLE as error:
            raise CountsUnavailable(str(error) or type(error).__name__) from error
        finally:
            heed_cancellation()

    async def close(self) -> None:
        """Give the connections back."""
        await self._redis.aclose()
        await self._redis.connection_pool.disconnect()


class OwnCounts:
    """The same in memory, for as long as Redis is away; ended counts are cleared away by the library."""

    def __init__(self) -> None:
        self._counts = MemoryStorage()

    async def add(self, key: str, calls: int, ttl_s: int) -> int:
        """Add to a count and return what it comes to."""
        return int(await self._counts.incr(key, ttl_s, calls))
