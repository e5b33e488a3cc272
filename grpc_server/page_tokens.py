"""Page tokens: where the last page ended, signed, and bound to the conditions it was listed under (AIP-158)."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
from collections.abc import Callable

from grpc_server.problems import Invalid, violation

LIFETIME_S = 3 * 24 * 3600
LENGTH_MAX = 512
SECRET_BYTES_MIN = 32
_MAC_BYTES = 16
_VERSION = 1

Place = tuple[int, str]
"""Where a list goes on: its sorting number and the name that breaks ties; which ones, the list itself knows."""


class PageTokens:
    """Issues and reads tokens. A token is no authorisation: it only says where to go on."""

    def __init__(self, secret: bytes, now_s: Callable[[], int]) -> None:
        """All servers behind one name share the secret; `now_s` is Unix seconds."""
        if len(secret) < SECRET_BYTES_MIN:
            raise ValueError(f"the page token secret needs {SECRET_BYTES_MIN} bytes, got {len(secret)}")
        self._secret = secret
        self._now_s = now_s

    def issue(self, last: Place, conditions: str) -> str:
        """A token, base64url without padding, for the page after `last` under the same conditions."""
        body = json.dumps([_VERSION, self._now_s() + LIFETIME_S, *last]).encode()
        return base64.urlsafe_b64encode(self._mac(body, conditions) + body).rstrip(b"=").decode()

    def read(self, token: str, conditions: str) -> Place | None:
        """Where to go on, None for the empty token of a first page. Rejects a token that does not fit."""
        if not token:
            return None
        place = self.place(token, conditions)
        if place is None:
            raise violation(Invalid.PAGE_TOKEN_INVALID, "page_token", token)
        return place

    def place(self, token: str, conditions: str) -> Place | None:
        """Where to go on, None for a token that does not fit."""
        sealed = _bytes(token)
        mac, body = sealed[:_MAC_BYTES], sealed[_MAC_BYTES:]
        if not hmac.compare_digest(mac, self._mac(body, conditions)):
            return None
        version, expires_at_s, number, name = json.loads(body)
        if version != _VERSION or expires_at_s <= self._now_s():
            return None
        return number, name

    def _mac(self, body: bytes, conditions: str) -> bytes:
        sealed = len(conditions).to_bytes(4, "big") + conditions.encode() + body
        return hmac.new(self._secret, sealed, hashlib.sha256).digest()[:_MAC_BYTES]


def _bytes(token: str) -> bytes:
    """The token's bytes; what is not base64url becomes bytes that no signature fits."""
    if len(token) > LENGTH_MAX:
        return b""
    try:
        return base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        return b""
