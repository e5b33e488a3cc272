"""Access tokens: JWTs whose subject is the caller, checked once and then remembered until they expire."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import jwt

from domain.ids import MalformedId, Wallet, parse_wallet
from identity.callers import Caller, Tier
from identity.denials import Denial
from identity.keys import TokenKey

if TYPE_CHECKING:
    from jwt.types import Options

ACCESS_TTL_S = 15 * 60
OPERATOR_TTL_S = 30 * 24 * 3600
OPERATOR = "operator"
"""The subject of admin tokens: no wallet stands behind them."""
TOKEN_LENGTH_MAX = 2_048
REMEMBERED_MAX = 50_000
"""Verified tokens kept, about 20 MB; EdDSA costs 142 us a check, a look here 1 us (decisions A9)."""

_REQUIRED = ("iss", "aud", "sub", "exp", "iat", "tier")
_OPTIONS: Options = {"require": list(_REQUIRED), "verify_exp": False, "verify_nbf": False, "verify_iat": False}
"""Times are judged here, on the injected clock."""
_DENIALS: tuple[tuple[type[jwt.PyJWTError], Denial], ...] = (
    (jwt.InvalidAlgorithmError, Denial.TOKEN_ALGORITHM_REFUSED),
    (jwt.InvalidSignatureError, Denial.TOKEN_SIGNATURE_INVALID),
    (jwt.MissingRequiredClaimError, Denial.TOKEN_CLAIM_MISSING),
    (jwt.InvalidIssuerError, Denial.TOKEN_ISSUER_MISMATCH),
    (jwt.InvalidAudienceError, Denial.TOKEN_AUDIENCE_MISMATCH),
    (jwt.PyJWTError, Denial.TOKEN_MALFORMED),
)


@dataclass(frozen=True, slots=True)
class IssuedToken:
    """A token, when it expires (Unix seconds), and its `jti`."""

    token: str
    expires_at_s: int
    token_id: str


class Tokens:
    """Issues and verifies; `older` keys only verify, so that a rotation logs nobody out."""

    def __init__(
        self,
        key: TokenKey,
        older: tuple[TokenKey, ...],
        issuer: str,
        audience: str,
        now_s: Callable[[], int],
        new_id: Callable[[], str],
    ) -> None:
        self._key = key
        self._keys: Mapping[str, TokenKey] = {known.key_id: known for known in (key, *older)}
        self._algorithms = {known.algorithm for known in self._keys.values()}
        self._issuer = issuer
        self._audience = audience
        self._now_s = now_s
        self._new_id = new_id
        self._remembered: dict[bytes, Caller] = {}

    def issue(self, wallet: Wallet | None, tier: Tier, ttl_s: int = ACCESS_TTL_S) -> IssuedToken:
        """A token for a wallet, or for the operator when there is no wallet."""
        now_s, token_id = self._now_s(), self._new_id()
        claims = {
            "iss": self._issuer,
            "aud": self._audience,
            "sub": wallet or OPERATOR,
            "iat": now_s,
            "exp": now_s + ttl_s,
            "jti": token_id,
            "tier": tier.name.lower(),
        }
        token = jwt.encode(claims, self._key.private, self._key.algorithm, {"kid": self._key.key_id})
        if wallet is not None:  # it comes back here with the next call
            self._remember(_digest(token), Caller(tier, wallet, now_s + ttl_s, token_id))
        return IssuedToken(token, now_s + ttl_s, token_id)

    def verify(self, token: str) -> Caller | Denial:
        """Who the token speaks for, or why it speaks for nobody."""
        if len(token) > TOKEN_LENGTH_MAX:
            return Denial.TOKEN_MALFORMED
        digest = _digest(token)
        caller = self._remembered.get(digest) or self._checked(token)
        if isinstance(caller, Denial):
            return caller
        if caller.expires_at_s is None or caller.expires_at_s <= self._now_s():
            self._remembered.pop(digest, None)
            return Denial.TOKEN_EXPIRED
        self._remember(digest, caller)
        return caller

    def _checked(self, token: str) -> Caller | Denial:
        """A token names one of our keys by `kid`, and the key has its algorithm; a token cannot choose that."""
        try:
            key = self._keys.get(str(jwt.get_unverified_header(token).get("kid")))
            if key is None:
                return self._keyless(token)
            claims = jwt.decode(
                token,
                key.public,
                algorithms=[key.algorithm],
                issuer=self._issuer,
                audience=self._audience,
                options=_OPTIONS,
            )
        except jwt.PyJWTError as error:
            return next(denial for kind, denial in _DENIALS if isinstance(error, kind))
        return _caller(claims)

    def _keyless(self, token: str) -> Denial:
        other = jwt.get_unverified_header(token).get("alg") not in self._algorithms
        return Denial.TOKEN_ALGORITHM_REFUSED if other else Denial.TOKEN_KEY_UNKNOWN

    def _remember(self, digest: bytes, caller: Caller) -> None:
        if digest not in self._remembered and len(self._remembered) >= REMEMBERED_MAX:
            del self._remembered[next(iter(self._remembered))]
        self._remembered[digest] = caller


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()


def _caller(claims: Mapping[str, Any]) -> Caller | Denial:
    """The caller that verified claims name; `sub` is the identity, and a differing `wallet` is refused (T66)."""
    subject, expires_at_s, tier_name = claims["sub"], claims["exp"], claims["tier"]
    if claims.get("wallet", subject) != subject or not isinstance(expires_at_s, int):
        return Denial.TOKEN_CLAIM_INVALID
    tier = {Tier.WALLET.name.lower(): Tier.WALLET, Tier.ADMIN.name.lower(): Tier.ADMIN}.get(tier_name)
    if tier is None:
        return Denial.TOKEN_CLAIM_INVALID
    token_id = claims.get("jti")
    if tier is Tier.ADMIN and not (isinstance(token_id, str) and token_id):
        return Denial.TOKEN_CLAIM_INVALID  # nobody could revoke it
    if tier is Tier.ADMIN and subject == OPERATOR:
        return Caller(tier, None, expires_at_s, token_id)
    try:
        return Caller(tier, parse_wallet(subject), expires_at_s, token_id)
    except MalformedId:
        return Denial.TOKEN_CLAIM_INVALID
