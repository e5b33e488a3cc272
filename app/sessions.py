"""Storage's sessions and revocations as identity wants them."""

from __future__ import annotations

from app.retold import retold
from domain.ids import Wallet
from identity import Denial, SessionStoreUnavailable
from storage.sessions import OperatorTokens, RefreshFamilies

_DENIALS = {
    "unknown": Denial.REFRESH_TOKEN_UNKNOWN,
    "revoked": Denial.REFRESH_FAMILY_REVOKED,
    "expired": Denial.REFRESH_TOKEN_EXPIRED,
    "reused": Denial.REFRESH_TOKEN_REUSED,
}


class Families:
    """Adapts storage's families to identity's port."""

    def __init__(self, families: RefreshFamilies) -> None:
        self._families = families

    async def open(self, family: str, wallet: Wallet, secret_hash: bytes, expires_at_s: int) -> None:
        """Begin a family."""
        with retold(SessionStoreUnavailable):
            await self._families.open(family, wallet, secret_hash, expires_at_s)

    async def turn(self, family: str, old_hash: bytes, new_hash: bytes) -> Wallet | Denial:
        """Replace the secret."""
        with retold(SessionStoreUnavailable):
            verdict, wallet = await self._families.turn(family, old_hash, new_hash)
        if verdict != "turned":
            return _DENIALS[verdict]
        assert wallet is not None, "a family that turned has a wallet"
        return wallet


class Revocations:
    """Adapts storage's operator tokens to identity's port."""

    def __init__(self, operator_tokens: OperatorTokens) -> None:
        self._operator_tokens = operator_tokens

    async def is_revoked(self, token_id: str) -> bool:
        """Whether it was taken back."""
        with retold(SessionStoreUnavailable):
            return await self._operator_tokens.is_revoked(token_id)
