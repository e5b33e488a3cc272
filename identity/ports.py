"""What identity needs of its neighbours; `app/wiring.py` joins it to the real parts."""

from __future__ import annotations

from typing import Protocol

from domain.ids import Wallet


class NonceStoreUnavailable(Exception):
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
