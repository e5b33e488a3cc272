"""Whether a webhook comes from whom it should: by its secret in `Authorization`, or an HMAC of its bytes (T27, T28)."""

from __future__ import annotations

import enum
import hashlib
import hmac
from collections.abc import Sequence


class WebhookMode(enum.StrEnum):
    """What a webhook must bring: Helius echoes the secret, others sign the body."""

    EITHER = "either"
    AUTHORIZATION = "authorization"
    SIGNATURE = "signature"


class WebhookSecrets:
    """The live secrets; two while one is replaced. Pure, and total over any header."""

    def __init__(self, secrets: Sequence[str], mode: WebhookMode = WebhookMode.EITHER) -> None:
        assert secrets and all(secrets), "a webhook without a secret would be anybody's"
        self._secrets = [secret.encode() for secret in secrets]
        self._mode = mode

    def admits(self, authorization: str | None, signature: str | None, body: bytes) -> bool:
        """Whether one live secret stands behind the headers.

        With `either`, a signature that is there decides: whoever signs means the signature to be checked. All secrets
        are compared, each in constant time, so that the time taken tells nothing.
        """
        if self._mode is WebhookMode.SIGNATURE or (self._mode is WebhookMode.EITHER and signature is not None):
            return self._any(signature, [hmac.new(secret, body, hashlib.sha256) for secret in self._secrets])
        return self._any_secret(authorization)

    def _any(self, signature: str | None, expected: Sequence[hmac.HMAC]) -> bool:
        given = (signature or "").lower().encode("utf-8", "replace")
        matches = [hmac.compare_digest(given, each.hexdigest().encode()) for each in expected]
        return any(matches)

    def _any_secret(self, authorization: str | None) -> bool:
        given = _digest((authorization or "").encode("utf-8", "replace"))
        matches = [hmac.compare_digest(given, _digest(secret)) for secret in self._secrets]
        return any(matches)


def _digest(secret: bytes) -> bytes:
    """Of one length for all, so that comparing does not tell how long the secret is."""
    return hashlib.sha256(secret).digest()
