"""Who is calling: a tier, and the wallet behind it if there is one."""

from __future__ import annotations

import enum
import hashlib
import hmac
from collections.abc import Iterable
from dataclasses import dataclass, field

from domain.ids import Wallet


class Tier(enum.IntEnum):
    """What a caller may do; a higher tier may do everything a lower one may (decisions A7)."""

    ANONYMOUS = 0
    WALLET = 1
    SERVICE = 2
    ADMIN = 3


@dataclass(frozen=True, slots=True)
class Caller:
    """An established identity; `expires_at_s` (Unix seconds) is None for callers without a token."""

    tier: Tier
    wallet: Wallet | None = None
    expires_at_s: int | None = None
    credential_id: str | None = field(default=None, compare=False)
    """The token's `jti`, by which it can be revoked, or the beginning of a service key's hash."""


ANONYMOUS = Caller(Tier.ANONYMOUS)


def hash_service_key(key: str) -> bytes:
    """The form in which a service key is configured: SHA-256, because the keys are long and random."""
    return hashlib.sha256(key.encode()).digest()


class ServiceKeys:
    """The live keys of internal services, as hashes; several may be valid during a rotation."""

    def __init__(self, hashes: Iterable[bytes]) -> None:
        self._callers = [(known, Caller(Tier.SERVICE, credential_id=known.hex()[:16])) for known in hashes]

    def caller(self, key: str) -> Caller | None:
        """The service behind a live key; takes the same time for every key of the same length (T68, H13)."""
        given = hash_service_key(key)
        matches = [caller for known, caller in self._callers if hmac.compare_digest(given, known)]
        return matches[0] if matches else None
