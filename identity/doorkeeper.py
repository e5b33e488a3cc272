"""Who a call comes from, by the two headers that may say so."""

from __future__ import annotations

from identity.callers import ANONYMOUS, Caller, ServiceKeys
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
        if service_key is None:
            return ANONYMOUS
        return self._service_keys.caller(service_key) or ANONYMOUS

    def _bearer(self, authorization: str) -> Caller | Denial:
        if not authorization.lower().startswith(_SCHEME):
            return Denial.AUTHORIZATION_MALFORMED
        return self._tokens.verify(authorization[len(_SCHEME) :].strip())
