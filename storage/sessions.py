"""Who stays signed in, and which operator tokens were handed out and taken back; raises StorageUnavailable."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from domain.ids import Wallet
from storage.database import Database

FORGOTTEN_AT_ONCE_MAX = 10
"""Ended families that each new one clears away."""


class RefreshFamilies:
    """Sign-ins and the newest secret of each, as a hash; by database time."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def open(self, family: str, wallet: Wallet, secret_hash: bytes, expires_at_s: int) -> None:
        """Begin a family (a UUID) that ends at `expires_at_s`, Unix seconds."""
        await self._database.fetch("open_family", family, wallet, secret_hash, expires_at_s, FORGOTTEN_AT_ONCE_MAX)

    async def turn(self, family: str, old_hash: bytes, new_hash: bytes) -> tuple[str, Wallet | None]:
        """Replace the secret: `turned` and the wallet, or why not: `unknown`, `revoked`, `expired` or `reused`.

        Atomic: of any number of calls with one secret one turns; the others end the family, as any stale secret does.
        """
        rows = await self._database.fetch("turn_family", family, old_hash, new_hash)
        return (rows[0]["verdict"], Wallet(rows[0]["wallet"])) if rows else ("unknown", None)

    async def end_all(self, wallet: Wallet) -> int:
        """End every family of a wallet and return how many there were."""
        return len(await self._database.fetch("end_families", wallet))


@dataclass(frozen=True, slots=True)
class OperatorToken:
    """What is known of a token; itself it is not kept. Times are aware and UTC."""

    token_id: str
    label: str
    issued_at: datetime
    expires_at: datetime
    revoked_at: datetime | None


class OperatorTokens:
    """Tokens of the admin tier: noted when minted, and a revocation holds for those that nobody noted, too."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def note(self, token_id: str, label: str, expires_at_s: int) -> None:
        """Remember that a token was minted."""
        await self._database.fetch("note_operator_token", token_id, label, expires_at_s)

    async def revoke(self, token_id: str, expires_at_s: int) -> None:
        """Refuse a token from now on; `expires_at_s` is for a token that nobody noted. Repeating changes nothing."""
        await self._database.fetch("revoke_operator_token", token_id, expires_at_s)

    async def is_revoked(self, token_id: str) -> bool:
        """Whether it was taken back."""
        rows = await self._database.fetch("is_operator_token_revoked", token_id)
        return bool(rows[0]["is_revoked"])

    async def list(self, limit: int) -> Sequence[OperatorToken]:
        """The newest tokens."""
        return [OperatorToken(*row.values()) for row in await self._database.fetch("list_operator_tokens", limit)]
