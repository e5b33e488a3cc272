"""Staying signed in: refresh tokens that are used once each, in families that end when a used one comes back.

A refresh token is `<family>.<secret>`. Both are random, and a family keeps the hash of its newest secret only, so
whoever brings a family with another secret brings a token that was replaced: it was copied, by them or from them.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass

from domain.ids import Wallet
from identity.callers import Tier
from identity.denials import Denial
from identity.ports import FamilyStore
from identity.tokens import IssuedToken, Tokens

REFRESH_TTL_S = 30 * 24 * 3600
"""How long one signature keeps a wallet signed in, however often it refreshes."""
_TOKEN = re.compile(r"([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})\.([A-Za-z0-9_-]{32,86})")


@dataclass(frozen=True, slots=True)
class Session:
    """A pair of tokens: one for calls, and one that replaces both, once."""

    access: IssuedToken
    refresh: str


class Refreshes:
    """Begins and continues sessions. Both raise `SessionStoreUnavailable` when the store is away."""

    def __init__(
        self,
        families: FamilyStore,
        tokens: Tokens,
        now_s: Callable[[], int],
        new_family: Callable[[], str],
        new_secret: Callable[[], str],
    ) -> None:
        """`new_family` gives random UUIDs, `new_secret` at least 32 unguessable base64url characters."""
        self._families = families
        self._tokens = tokens
        self._now_s = now_s
        self._new_family = new_family
        self._new_secret = new_secret

    async def begin(self, wallet: Wallet) -> Session:
        """The session of a wallet that has just proven itself."""
        family, secret = self._new_family(), self._new_secret()
        await self._families.open(family, wallet, _hash(secret), self._now_s() + REFRESH_TTL_S)
        return self._session(wallet, family, secret)

    async def refresh(self, token: str) -> Session | Denial:
        """The next pair for a refresh token, which is used up by it.

        A token that was used before ends its whole family: the next pair of whoever used it first is void, too.
        """
        parts = _TOKEN.fullmatch(token)
        if parts is None:
            return Denial.REFRESH_TOKEN_MALFORMED
        family, secret = parts[1], self._new_secret()
        turned = await self._families.turn(family, _hash(parts[2]), _hash(secret))
        return turned if isinstance(turned, Denial) else self._session(turned, family, secret)

    def _session(self, wallet: Wallet, family: str, secret: str) -> Session:
        return Session(self._tokens.issue(wallet, Tier.WALLET), f"{family}.{secret}")


def _hash(secret: str) -> bytes:
    """SHA-256, because the secrets are long and random."""
    return hashlib.sha256(secret.encode()).digest()
