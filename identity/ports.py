"""What identity needs of its neighbours; `app/wiring.py` joins it to the real parts."""

from __future__ import annotations

from typing import Protocol

from domain.ids import Wallet
from identity.denials import Denial


class StoreUnavailable(Exception):
    """What identity remembers things with is away; `retry_after_s` is how long nobody will ask it, None if unknown."""

    def __init__(self, why: str, retry_after_s: float | None = None) -> None:
        super().__init__(why)
        self.retry_after_s = retry_after_s


class NonceStoreUnavailable(StoreUnavailable):
    """The store of nonces cannot take or give one now; nothing was issued or used up as far as we know."""


class NonceStore(Protocol):
    """Issued challenges until they are used or expire (decisions A8). Both calls raise `NonceStoreUnavailable`."""

    async def put(self, nonce: str, address: Wallet, message: str, expires_at_s: int) -> None:
        """Remember a challenge until `expires_at_s`, Unix seconds."""
        ...

    async def take(self, nonce: str, address: Wallet) -> str | None:
        """Use up the nonce and return its message, or None when it is unknown, used, expired or another address's.

        Atomic: of any number of concurrent calls at most one gets the message. A call with another address
        leaves the nonce to its owner.
        """
        ...


class SessionStoreUnavailable(StoreUnavailable):
    """The store of sessions and revocations cannot answer now; a refresh token that was brought may be used up."""


class FamilyStore(Protocol):
    """Families of refresh tokens, each with the hash of its newest secret. Raises `SessionStoreUnavailable`."""

    async def open(self, family: str, wallet: Wallet, secret_hash: bytes, expires_at_s: int) -> None:
        """Begin a family that ends at `expires_at_s`, Unix seconds."""
        ...

    async def turn(self, family: str, old_hash: bytes, new_hash: bytes) -> Wallet | Denial:
        """Replace the family's secret and return its wallet, or say why not.

        Atomic: of any number of calls with one secret one succeeds. A secret that is not the newest ends the family.
        """
        ...


class Revocations(Protocol):
    """Which tokens were taken back before they expired. Raises `SessionStoreUnavailable`."""

    async def is_revoked(self, token_id: str) -> bool:
        """Whether the token of this `jti` was."""
        ...


class CallCounts(Protocol):
    """Counts that all servers share; a store that is away is the implementation's to replace, so nothing is raised."""

    async def add(self, key: str, calls: int, ttl_s: int) -> int:
        """Add to a count that ends `ttl_s` after its first addition, and return what it comes to."""
        ...
