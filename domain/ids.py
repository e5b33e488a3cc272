"""Identities: every market and wallet is 32 bytes, written as base58 text (decisions P5, T37, CI D15)."""

from __future__ import annotations

import re
import uuid
import zlib
from typing import NewType

MarketId = NewType("MarketId", str)
"""Canonical base58 text of the 32 raw market_id bytes. Never a PDA."""

Wallet = NewType("Wallet", str)
"""Canonical base58 text of a 32-byte ed25519 public key."""

KEY_BYTES = 32
VIRTUAL_SHARDS = 64
TEXT_LENGTH_MAX = 64
"""Longest accepted spelling: 64 hex digits. Anything longer is refused before it is decoded."""

_ALPHABET = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
_DIGIT = {letter: value for value, letter in enumerate(_ALPHABET)}
_STEP = 10
"""Digits that are put together in a small number first: of a signature's 88 steps on long numbers 9 are left."""
_STEP_WORTH = 58**_STEP
_HEX_64 = re.compile(r"[0-9a-fA-F]{64}")
_DASHED_UUID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")


class MalformedId(ValueError):
    """A text that names neither a market nor a wallet."""

    def __init__(self, text: str) -> None:
        super().__init__(f"not a 32-byte identity: {text[:TEXT_LENGTH_MAX]!r}")
        self.text = text[:TEXT_LENGTH_MAX]


def base58_encode(raw: bytes) -> str:
    """Write `raw` in Bitcoin's base58 alphabet, one leading `1` for each leading zero byte."""
    number = int.from_bytes(raw, "big")
    digits = ""
    while number:
        number, rest = divmod(number, 58)
        digits = _ALPHABET[rest] + digits
    return "1" * (len(raw) - len(raw.lstrip(b"\0"))) + digits


def base58_decode(text: str) -> bytes:
    """Read base58 text; raises `MalformedId` for a letter outside the alphabet."""
    try:
        digits = [_DIGIT[letter] for letter in text]
    except KeyError:
        raise MalformedId(text) from None
    digits = [0] * (-len(digits) % _STEP) + digits
    number = 0
    for start in range(0, len(digits), _STEP):
        part = 0
        for digit in digits[start : start + _STEP]:
            part = part * 58 + digit
        number = number * _STEP_WORTH + part
    zeros = len(text) - len(text.lstrip("1"))
    return b"\0" * zeros + number.to_bytes((number.bit_length() + 7) // 8, "big")


def parse_market_id(text: str) -> MarketId:
    """Read a market_id as base58, 64 hex digits or a dashed UUID; raises `MalformedId`.

    A UUID is 16 bytes followed by 16 zero bytes (T37). A PDA passes this syntax and is simply unknown.
    """
    if len(text) > TEXT_LENGTH_MAX:
        raise MalformedId(text)
    if _HEX_64.fullmatch(text):
        return MarketId(base58_encode(bytes.fromhex(text)))
    if _DASHED_UUID.fullmatch(text):
        return MarketId(base58_encode(uuid.UUID(text).bytes + bytes(16)))
    return MarketId(_canonical(text))


def parse_wallet(text: str) -> Wallet:
    """Read a wallet address as base58; raises `MalformedId`."""
    return Wallet(_canonical(text))


def key_bytes(text: str) -> bytes:
    """The 32 raw bytes behind a canonical identity."""
    return base58_decode(text)


def virtual_shard(market_id: MarketId) -> int:
    """The virtual shard (0..63) that owns a market; stable for ever, because the database stores it."""
    return zlib.crc32(market_id.encode("ascii")) % VIRTUAL_SHARDS


def _canonical(text: str) -> str:
    if not text or len(text) > TEXT_LENGTH_MAX:
        raise MalformedId(text)
    raw = base58_decode(text)
    if len(raw) != KEY_BYTES:
        raise MalformedId(text)
    return text
