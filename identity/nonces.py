"""Nonces in this process's memory: the twin of the shared store, for tests and for a server that runs alone."""

from __future__ import annotations

from collections.abc import Callable

from domain.ids import Wallet
from identity.ports import NonceStoreUnavailable

OPEN_CHALLENGES_MAX = 100_000
"""Challenges kept at once, about 60 MB; more than 160 sign-ins a second over a whole lifetime of ten minutes."""


class NoncesInMemory:
    """A NonceStore without a server; forgets everything with its process. Atomic because it never awaits."""

    def __init__(self, now_s: Callable[[], int], open_max: int = OPEN_CHALLENGES_MAX) -> None:
        self._now_s = now_s
        self._open_max = open_max
        self._open: dict[tuple[str, Wallet], tuple[str, int]] = {}

    async def put(self, nonce: str, address: Wallet, message: str, expires_at_s: int) -> None:
        """Remember a challenge; raises `NonceStoreUnavailable` when full."""
        self._forget_expired()
        if len(self._open) >= self._open_max:
            raise NonceStoreUnavailable(f"{self._open_max} challenges are open")
        self._open[nonce, address] = (message, expires_at_s)

    async def take(self, nonce: str, address: Wallet) -> str | None:
        """Use up the nonce and return its message, or None."""
        message, expires_at_s = self._open.pop((nonce, address), ("", 0))
        return message if expires_at_s > self._now_s() else None

    def _forget_expired(self) -> None:
        """Drop from the oldest end; every challenge lives equally long, so order of insertion is order of expiry."""
        now_s = self._now_s()
        while self._open:
            oldest = next(iter(self._open))
            if self._open[oldest][1] > now_s:
                return
            del self._open[oldest]
