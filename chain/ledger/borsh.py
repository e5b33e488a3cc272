"""Borsh records of fixed shape: little-endian integers, raw keys, one-byte bools, tagged options (CI 2).

The ledger has its own coder on purpose: clients decode with anchorpy, so a mistake on either side shows in the tests.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any


class BorshError(ValueError):
    """Bytes that are no instance of the record."""


@dataclass(frozen=True, slots=True)
class Kind:
    """One field's type: `code` is its `struct` letter, `zero` the value a fresh account holds."""

    code: str
    zero: Any
    is_bool: bool = False
    is_optional: bool = False


U8 = Kind("B", 0)
U16 = Kind("H", 0)
U32 = Kind("I", 0)
U64 = Kind("Q", 0)
I64 = Kind("q", 0)
BOOL = Kind("B", False, is_bool=True)
KEY = Kind("32s", bytes(32))
HASH = Kind("46s", bytes(46))


def fixed(size: int) -> Kind:
    """`[u8; size]`."""
    return Kind(f"{size}s", bytes(size))


def optional(kind: Kind) -> Kind:
    """`Option<kind>`: a tag byte, then the value when the tag is 1."""
    return Kind(kind.code, None, is_bool=kind.is_bool, is_optional=True)


class Layout:
    """Encodes and decodes one record; runs of fixed fields share one `struct` call."""

    def __init__(self, kinds: Sequence[Kind]) -> None:
        self._runs: list[tuple[struct.Struct, tuple[Kind, ...]]] = []
        run: list[Kind] = []
        for kind in kinds:
            if kind.is_optional:
                self._close(run)
                self._runs.append((struct.Struct("<" + kind.code), (kind,)))
                run = []
            else:
                run.append(kind)
        self._close(run)

    def _close(self, run: Sequence[Kind]) -> None:
        if run:
            self._runs.append((struct.Struct("<" + "".join(kind.code for kind in run)), tuple(run)))

    def encode(self, values: Sequence[Any]) -> bytes:
        """Write `values` in field order; raises `BorshError` for a number that does not fit."""
        parts: list[bytes] = []
        at = 0
        for packer, kinds in self._runs:
            chunk = values[at : at + len(kinds)]
            at += len(kinds)
            if kinds[0].is_optional:
                parts.append(b"\0" if chunk[0] is None else b"\1" + _pack(packer, chunk))
            else:
                parts.append(_pack(packer, chunk))
        return b"".join(parts)

    def decode(self, raw: bytes) -> tuple[list[Any], int]:
        """Read the record at the start of `raw`: the values and how many bytes they took; the rest is ignored."""
        values: list[Any] = []
        at = 0
        for packer, kinds in self._runs:
            if kinds[0].is_optional:
                at, is_some = at + 1, _flag(raw, at)
                if not is_some:
                    values.append(None)
                    continue
            values.extend(_unpack(packer, kinds, raw, at))
            at += packer.size
        return values, at


def _pack(packer: struct.Struct, values: Sequence[Any]) -> bytes:
    try:
        return packer.pack(*values)
    except struct.error as error:
        raise BorshError(str(error)) from error


def _unpack(packer: struct.Struct, kinds: Sequence[Kind], raw: bytes, at: int) -> list[Any]:
    try:
        values = packer.unpack_from(raw, at)
    except struct.error as error:
        raise BorshError(str(error)) from error
    return [_bool(value) if kind.is_bool else value for kind, value in zip(kinds, values, strict=True)]


def _flag(raw: bytes, at: int) -> bool:
    if at >= len(raw):
        raise BorshError("record ends before an option's tag")
    return _bool(raw[at])


def _bool(value: int) -> bool:
    if value > 1:
        raise BorshError(f"{value} is neither 0 nor 1")
    return value == 1
