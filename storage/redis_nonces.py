"""Challenges in Redis, where they are kept while it answers; PostgreSQL has those that are issued while it does not."""

from __future__ import annotations

from domain.ids import Wallet
from storage.outages import StorageUnavailable
from storage.redis_client import REDIS_TROUBLE, connect_redis, heed_cancellation

ANSWER_S_MAX = 0.5
PREFIX = "sign_in_nonce"


class RedisNonces:
    """Nonces that are part of their key together with the address, each taken once; raises StorageUnavailable."""

    def __init__(self, redis_url: str) -> None:
        self._redis = connect_redis(redis_url, ANSWER_S_MAX)

    async def put(self, nonce: str, address: Wallet, message: str, expires_at_s: int) -> None:
        """Remember a challenge until `expires_at_s`, Unix seconds."""
        try:
            await self._redis.set(_key(nonce, address), message, exat=expires_at_s)
        except REDIS_TROUBLE as error:
            raise StorageUnavailable("put_nonce", str(error) or type(error).__name__) from error
        finally:
            heed_cancellation()

    async def take(self, nonce: str, address: Wallet) -> str | None:
        """Use the nonce up and return its message; None when it is unknown, used, expired or another address's.

        GETDEL is atomic: of any number of concurrent calls one gets the message. An answer that was lost used it up.
        """
        try:
            message = await self._redis.getdel(_key(nonce, address))
        except REDIS_TROUBLE as error:
            raise StorageUnavailable("take_nonce", str(error) or type(error).__name__) from error
        finally:
            heed_cancellation()
        return None if message is None else str(message)

    async def close(self) -> None:
        """Give the connections back."""
        await self._redis.aclose()


def _key(nonce: str, address: Wallet) -> str:
    return f"{PREFIX}:{nonce}:{address}"
