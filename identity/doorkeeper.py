"""Who a call comes from, by the two headers that may say so."""

from __future__ import annotations

from identity.callers import ANONYMOUS, SERVICE, Caller, ServiceKeys
from identity.denials import Denial
from identity.tokens import Tokens

_SCHEME = "bearer "


class Doorkeeper:
    """Turns headers into a caller; a bad token is a denial, an unknown service key is nobody (T68)."""

    def __init__(self, tokens: Tokens, service_keys: ServiceKeys) -> None:
        self._tokens = tokens
        self._service_keys = service_keys

    def admit(self, authorization: str | None, service_key: str | None) -> Caller | Denial:
        """The caller; a token comes before a service key."""
        if authorization is not None:
            return self._bearer(authorization)
        if service_key is not None and self._service_keys.knows(service_key):
            return SERVICE
        return ANONYMOUS

    def _bearer(self, authorization: str) -> Caller | Denial:
        if not authorization.lower().startswith(_SCHEME):
            return Denial.AUTHORIZATION_MALFORMED
        return self._tokens.verify(authorization[len(_SCHEME) :].strip())
