"""Reading a request's positional parameters; anything wrong is -32602 with a sentence."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence
from typing import Any

from chain.ledger.bank import COMMITMENTS, Block
from chain.ledger.node import Node
from chain.ledger.rpc.faults import MIN_CONTEXT_SLOT, RpcError, invalid_params
from chain.ledger.transactions import PACKET_BYTES_MAX
from domain.ids import KEY_BYTES, MalformedId, base58_decode

U64_MAX = 2**64 - 1
SIGNATURE_BYTES = 64
BASE58_TEXT_MAX = 2_048
"""Longest base58 text decoded: decoding is quadratic, and no packet is longer."""


class Config:
    """The optional object at the end of a parameter list."""

    def __init__(self, values: dict[str, Any]) -> None:
        self.values = values

    def text(self, name: str, default: str) -> str:
        """A string, `default` when absent."""
        value = self.values.get(name)
        if value is None:
            return default
        if not isinstance(value, str):
            raise invalid_params(f"Invalid params: {name} must be a string.")
        return value

    def flag(self, name: str) -> bool:
        """A boolean, false when absent."""
        value = self.values.get(name)
        if value is not None and not isinstance(value, bool):
            raise invalid_params(f"Invalid params: {name} must be a boolean.")
        return bool(value)

    def number(self, name: str) -> int | None:
        """An unsigned 64-bit integer."""
        value = self.values.get(name)
        return None if value is None else _u64(value, name)

    def raw(self, name: str) -> Any:
        """The value as it came."""
        return self.values.get(name)

    def commitment(self, default: str = "finalized", name: str = "commitment") -> str:
        """One of the three commitments."""
        value = self.text(name, default)
        if value not in COMMITMENTS:
            raise invalid_params(f"Invalid params: unknown commitment `{value}`.")
        return value

    def history_commitment(self) -> str:
        """The commitment of a history read, which is never `processed`."""
        value = self.commitment()
        if value == "processed":
            raise invalid_params("Method does not support commitment below `confirmed`")
        return value

    def signature(self, name: str) -> bytes | None:
        """A base58 signature, or None when absent."""
        value = self.values.get(name)
        return None if value is None else signature(value)


class Params:
    """A request's positional parameters."""

    def __init__(self, values: Sequence[Any]) -> None:
        self.values = values

    @property
    def count(self) -> int:
        """How many parameters were given."""
        return len(self.values)

    def config(self, index: int) -> Config:
        """The config object at `index`; a bare string there is a commitment, as old clients send it."""
        value = self.values[index] if index < len(self.values) else None
        if value is None:
            return Config({})
        if isinstance(value, str):
            return Config({"commitment": value})
        if not isinstance(value, dict):
            raise invalid_params("Invalid params: expected a config object.")
        return Config(value)

    def pubkey(self, index: int) -> bytes:
        """A required address."""
        return pubkey(self._required(index))

    def text(self, index: int) -> str:
        """A required string."""
        value = self._required(index)
        if not isinstance(value, str):
            raise invalid_params("Invalid params: invalid type, expected a string.")
        return value

    def number(self, index: int) -> int:
        """An unsigned 64-bit integer."""
        return _u64(self._required(index), f"parameter {index}")

    def items(self, index: int, count_max: int) -> list[Any]:
        """A required list of at most `count_max` items."""
        value = self._required(index)
        if not isinstance(value, list):
            raise invalid_params("Invalid params: invalid type, expected a sequence.")
        if len(value) > count_max:
            raise invalid_params(f"Too many inputs provided; max {count_max}")
        return value

    def _required(self, index: int) -> Any:
        if index >= len(self.values):
            raise invalid_params("`params` should have at least " + str(index + 1) + " argument(s)")
        return self.values[index]


def pubkey(value: Any) -> bytes:
    """32 bytes from base58."""
    raw = _base58(value)
    if len(raw) != KEY_BYTES:
        raise invalid_params("Invalid param: WrongSize")
    return raw


def signature(value: Any) -> bytes:
    """64 bytes from base58."""
    raw = _base58(value)
    if len(raw) != SIGNATURE_BYTES:
        raise invalid_params("Invalid param: WrongSize")
    return raw


def _base58(value: Any) -> bytes:
    if not isinstance(value, str):
        raise invalid_params("Invalid params: invalid type, expected a string.")
    if len(value) > BASE58_TEXT_MAX:
        raise invalid_params("Invalid param: WrongSize")
    try:
        return base58_decode(value)
    except MalformedId as error:
        raise invalid_params("Invalid param: Invalid") from error


def packet(text: str, encoding: str) -> bytes:
    """A serialized transaction or message in base58 or base64, no longer than one packet."""
    if encoding == "base58":
        raw = _base58(text)
    elif encoding == "base64":
        raw = _base64(text)
    else:
        raise invalid_params(f"unsupported encoding: {encoding}. Supported encodings: base58, base64")
    if len(raw) > PACKET_BYTES_MAX:
        raise invalid_params(f"decoded transaction too large: {len(raw)} bytes (max: {PACKET_BYTES_MAX} bytes)")
    return raw


def _base64(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise invalid_params(f"invalid base64 encoding: {error}") from error


def read_block(node: Node, config: Config, default: str = "finalized") -> Block:
    """The block a read is answered from; raises -32016 while `minContextSlot` is ahead of it."""
    block = node.bank.block(config.commitment(default))
    wanted = config.number("minContextSlot")
    if wanted is not None and block.slot < wanted:
        raise RpcError(MIN_CONTEXT_SLOT, "Minimum context slot has not been reached", {"contextSlot": block.slot})
    return block


def _u64(value: Any, name: str) -> int:
    if type(value) is not int or not 0 <= value <= U64_MAX:
        raise invalid_params(f"Invalid params: {name} must be an unsigned 64-bit integer.")
    return value
