"""Families of refresh tokens in this process's memory: the twin of the shared table, for tests."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from domain.ids import Wallet
from identity.denials import Denial


@dataclass(slots=True)
class _Family:
    wallet: Wallet
    secret_hash: bytes
    expires_at_s: int
    is_revoked: bool = False


class FamiliesInMemory:
    """A FamilyStore without a server; atomic because it never awaits."""

    def __init__(self, now_s: Callable[[], int]) -> None:
        self._now_s = now_s
        self._families: dict[str, _Family] = {}

    async def open(self, family: str, wallet: Wallet, secret_hash: bytes, expires_at_s: int) -> None:
        """Begin a family."""
        self._families[family] = _Family(wallet, secret_hash, expires_at_s)

    async def turn(self, family: str, old_hash: bytes, new_hash: bytes) -> Wallet | Denial:
        """Replace the secret, or end the family."""
        found = self._families.get(family)
        if found is None:
            return Denial.REFRESH_TOKEN_UNKNOWN
        if found.is_revoked:
            return Denial.REFRESH_FAMILY_REVOKED
        if found.secret_hash != old_hash:
            found.is_revoked = True
            return Denial.REFRESH_TOKEN_REUSED
        if found.expires_at_s <= self._now_s():
            return Denial.REFRESH_TOKEN_EXPIRED
        found.secret_hash = new_hash
        return found.wallet
