"""Challenges that were handed out and not answered yet, shared by all servers (decisions A8)."""

from domain.ids import Wallet
from storage.database import Database

FORGOTTEN_AT_ONCE_MAX = 10
"""Expired challenges that each new one clears away."""


class NonceStore:
    """Nonces bound to an address, each taken once, by database time; raises StorageUnavailable."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def put(self, nonce: str, address: Wallet, message: str, expires_at_s: int) -> None:
        """Remember a challenge until `expires_at_s`, Unix seconds."""
        await self._database.fetch("put_nonce", nonce, address, message, expires_at_s, FORGOTTEN_AT_ONCE_MAX)

    async def take(self, nonce: str, address: Wallet) -> str | None:
        """Use the nonce up and return its message; None when it is unknown, used, expired or another address's.

        Atomic: of any number of concurrent calls one gets the message. Another address leaves the nonce as it is.
        """
        rows = await self._database.fetch("take_nonce", nonce, address)
        return str(rows[0]["message"]) if rows and rows[0]["is_valid"] else None
