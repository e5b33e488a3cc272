"""Sign-In With Solana as pure functions: the text that a wallet signs, and what its answer is worth.

Format: Phantom's sign-in-with-solana specification and the wallet standard's `createSignInMessageText`. A signed text
cannot pass for a transaction: it is compared byte for byte with what was issued, and that begins with our domain.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, fields, replace
from datetime import UTC, datetime, timedelta

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from domain.ids import MalformedId, Wallet, base58_decode, key_bytes
from identity.denials import Denial

LIFETIME = timedelta(minutes=10)
"""How long a challenge may be answered, and Phantom's own limit for `Issued At`."""
MESSAGE_LENGTH_MAX = 2_048
SIGNATURE_BYTES = 64
SIGNATURE_TEXT_LENGTH_MAX = 88
"""The longest base58 text of 64 bytes."""


@dataclass(frozen=True, slots=True)
class Site:
    """What this deployment calls itself: `domain` with its port if any, `uri` its origin, `chain_id` its cluster."""

    domain: str
    uri: str
    chain_id: str
    statement: str


@dataclass(frozen=True, slots=True)
class SignInText:
    """The fields of a sign-in text in the order in which they are written; None is absent."""

    domain: str
    address: str
    statement: str | None = None
    uri: str | None = None
    version: str | None = None
    chain_id: str | None = None
    nonce: str | None = None
    issued_at: str | None = None
    expiration_time: str | None = None
    not_before: str | None = None
    request_id: str | None = None
    resources: str | None = None


_LABELS = {
    "uri": "URI",
    "version": "Version",
    "chain_id": "Chain ID",
    "nonce": "Nonce",
    "issued_at": "Issued At",
    "expiration_time": "Expiration Time",
    "not_before": "Not Before",
    "request_id": "Request ID",
}
_GRAMMAR = re.compile(
    r"(?P<domain>[^\n ]+) wants you to sign in with your Solana account:\n(?P<address>[^\n]+)"
    r"(?:\n\n(?!URI: |Version: |Chain ID: |Nonce: )(?P<statement>[^\n]+))?"
    r"(?:\n(?=\n))?"
    + "".join(rf"(?:\n{label}: (?P<{name}>[^\n]+))?" for name, label in _LABELS.items())
    + r"(?:\nResources:(?P<resources>(?:\n- [^\n]+)+))?"
)
_MISMATCHES = {
    "domain": Denial.SIGN_IN_DOMAIN_MISMATCH,
    "address": Denial.SIGN_IN_ADDRESS_MISMATCH,
    "uri": Denial.SIGN_IN_URI_MISMATCH,
    "chain_id": Denial.SIGN_IN_CHAIN_MISMATCH,
}


def challenge(site: Site, address: Wallet, nonce: str, now: datetime) -> SignInText:
    """The fields of a challenge that is issued at `now` (aware, UTC) and lives for LIFETIME."""
    return SignInText(
        domain=site.domain,
        address=address,
        statement=site.statement,
        uri=site.uri,
        version="1",
        chain_id=site.chain_id,
        nonce=nonce,
        issued_at=_written(now),
        expiration_time=_written(now + LIFETIME),
    )


def write(text: SignInText) -> str:
    """The exact text to be signed."""
    message = f"{text.domain} wants you to sign in with your Solana account:\n{text.address}"
    if text.statement is not None:
        message += f"\n\n{text.statement}"
    lines = [f"{label}: {value}" for name, label in _LABELS.items() if (value := getattr(text, name)) is not None]
    if text.resources is not None:
        lines.append(f"Resources:{text.resources}")
    return message + "".join(f"\n{line}" for line in ["", *lines]) if lines else message


def read(message: str) -> SignInText | None:
    """The fields of a text, or None when it is not a sign-in text; `write` gives the same text back."""
    if len(message) > MESSAGE_LENGTH_MAX:
        return None
    match = _GRAMMAR.fullmatch(message)
    if match is None:
        return None
    text = SignInText(**match.groupdict())
    return text if write(text) == message else None


def judge(issued: str, presented: str, site: Site, address: Wallet, now: datetime) -> Denial | None:
    """Why the presented text is not the challenge that was issued, or not ours, or not in time; None if all is well."""
    text, challenged = read(presented), read(issued)
    if text is None or challenged is None:
        return Denial.SIGN_IN_MESSAGE_MALFORMED
    if presented != issued:
        return _difference(challenged, text)
    expected = replace(challenged, domain=site.domain, address=address, uri=site.uri, chain_id=site.chain_id)
    if text != expected:
        return _difference(expected, text)
    return _untimely(text, now)


def signed(message: str, signature: str, address: Wallet) -> Denial | None:
    """Why `signature` (base58) is not `address`'s ed25519 signature of the message's bytes; None if it is.

    OpenSSL refuses a non-canonical S; keys of small order never got a challenge.
    """
    raw = _signature_bytes(signature)
    if raw is None:
        return Denial.SIGNATURE_MALFORMED
    try:
        Ed25519PublicKey.from_public_bytes(key_bytes(address)).verify(raw, message.encode())
    except InvalidSignature:
        return Denial.SIGNATURE_INVALID
    return None


def _difference(issued: SignInText, presented: SignInText) -> Denial:
    """The first field that differs, named."""
    for field in fields(SignInText):
        ours, theirs = getattr(issued, field.name), getattr(presented, field.name)
        if ours == theirs:
            continue
        if ours is None:
            return Denial.SIGN_IN_FIELD_NOT_ISSUED
        return _MISMATCHES.get(field.name, Denial.SIGN_IN_MESSAGE_ALTERED)
    return Denial.SIGN_IN_MESSAGE_ALTERED


def _untimely(text: SignInText, now: datetime) -> Denial | None:
    issued_at, expires_at = _instant(text.issued_at), _instant(text.expiration_time)
    if issued_at is None or expires_at is None or expires_at - issued_at > LIFETIME:
        return Denial.SIGN_IN_MESSAGE_MALFORMED
    if issued_at > now + timedelta(seconds=1):  # the text carries whole seconds
        return Denial.CHALLENGE_NOT_YET_VALID
    return Denial.CHALLENGE_EXPIRED if expires_at <= now else None


def _signature_bytes(signature: str) -> bytes | None:
    if len(signature) > SIGNATURE_TEXT_LENGTH_MAX:
        return None
    try:
        raw = base58_decode(signature)
    except MalformedId:
        return None
    return raw if len(raw) == SIGNATURE_BYTES else None


def _written(instant: datetime) -> str:
    return instant.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _instant(text: str | None) -> datetime | None:
    try:
        return datetime.strptime(text or "", "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)
    except ValueError:
        return None
