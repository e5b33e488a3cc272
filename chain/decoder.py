"""Event bytes to values, by discriminator and length (CI 7.2).

A decoder of our own, compiled once from one table: it tells the two layouts of WinningsClaimed apart, refuses bytes no
program writes, and takes an eighth of anchorpy's time (docs/adr/0004). Tests hold it to anchorpy field by field.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields
from typing import Any

from solders.pubkey import Pubkey

from chain import events
from chain.events import ChainEvent, EventFault, UndecodableEvent

DISCRIMINATOR_BYTES = 8

EVENT_FIELDS: tuple[tuple[type[ChainEvent], str], ...] = (
    (events.GlobalConfigInitialized, "kkHq"),
    (events.ConfigUpdated, "HHHHHqqq"),
    (events.ProtocolPauseStatusChanged, "bkq"),
    (events.MarketCreated, "kkQBq"),
    (events.ProposalVoteSubmitted, "kkbq"),
    (events.ProposalAggregated, "kIIBbq"),
    (events.ProposalApproved, "kkq"),
    (events.MarketCancelled, "kkq"),
    (events.MarketActivated, "kkQq"),
    (events.SharesBought, "kkbQQQq"),
    (events.SharesSold, "kkbQQQq"),
    (events.MarketResolved, "kkbhq"),
    (events.DisputeInitiated, "kkoq"),
    (events.DisputeVoteSubmitted, "kkbq"),
    (events.DisputeAggregated, "kIIBbq"),
    (events.MarketFinalized, "kobq"),
    (events.WinningsClaimed, "kkoQq"),
    (events.OldWinningsClaimed, "kkQQq"),
    (events.LiquidityWithdrawn, "kkQq"),
)
"""Fields in wire order: k a key as base58, b a bool, o an Option<bool>, h a 46-byte hash, else `struct` letters."""

_CODES = {"k": "32s", "b": "c", "h": "46s"}
_BOOLS = {b"\0": False, b"\1": True}
_OPTIONS: dict[str, dict[bytes, bool | None]] = {"n": {b"\0": None}, "s": {b"\1\0": False, b"\1\1": True}}
"""Borsh's Option<bool>: None is one byte, Some is two; the total length tells which one it is."""


def _text(raw: bytes) -> str:
    return str(Pubkey(raw))


_READERS: dict[str, Callable[[Any], Any]] = {
    "k": _text,
    "b": _BOOLS.__getitem__,
    "n": _OPTIONS["n"].__getitem__,
    "s": _OPTIONS["s"].__getitem__,
}


@dataclass(frozen=True, slots=True)
class _Layout:
    """One event at one length."""

    build: type[ChainEvent]
    fields: struct.Struct
    readers: tuple[tuple[int, Callable[[Any], Any]], ...]

    def read(self, raw: bytes) -> ChainEvent:
        values = list(self.fields.unpack_from(raw, DISCRIMINATOR_BYTES))
        for index, reader in self.readers:
            values[index] = reader(values[index])
        return self.build(*values)


def _compiled(build: type[ChainEvent], kinds: str) -> _Layout:
    codes = {**_CODES, "n": "1s", "s": "2s"}
    fields = struct.Struct("<" + "".join(codes.get(kind, kind) for kind in kinds))
    readers = tuple((index, _READERS[kind]) for index, kind in enumerate(kinds) if kind in _READERS)
    return _Layout(build, fields, readers)


def _tag(name: str) -> bytes:
    return hashlib.sha256(f"event:{name}".encode()).digest()[:DISCRIMINATOR_BYTES]


def _layouts() -> Iterator[tuple[bytes, _Layout]]:
    for build, kinds in EVENT_FIELDS:
        tag = _tag(build.NAME)
        for variant in ("n", "s") if "o" in kinds else ("",):
            yield tag, _compiled(build, kinds.replace("o", variant))


_BY_LENGTH = {(tag, DISCRIMINATOR_BYTES + layout.fields.size): layout for tag, layout in _layouts()}
_NAMES = {tag: layout.build.NAME for tag, layout in _layouts()}

EVENT_NAMES = tuple(dict.fromkeys(build.NAME for build, _ in EVENT_FIELDS))
"""All 18 names; routers and tables are made from this one list (T36)."""


def decode_event(raw: bytes) -> ChainEvent | UndecodableEvent:
    """The event in the bytes of an accepted data line; never raises, whatever the bytes are."""
    tag = raw[:DISCRIMINATOR_BYTES]
    layout = _BY_LENGTH.get((tag, len(raw)))
    if layout is None:
        name = _NAMES.get(tag)
        fault = EventFault.WRONG_LENGTH if name else EventFault.UNKNOWN_DISCRIMINATOR
        return UndecodableEvent(fault, name, raw)
    try:
        return layout.read(raw)
    except KeyError:  # a byte that is neither 0 nor 1 where a bool or an option's tag must be
        return UndecodableEvent(EventFault.MALFORMED, layout.build.NAME, raw)


def encode_event(event: ChainEvent) -> bytes:
    """The bytes that the program logs for an event: the reverse of `decode_event`."""
    kinds = _KINDS[type(event)]
    parts = [_written(kind, getattr(event, name)) for kind, name in zip(kinds, _field_names(event), strict=True)]
    return _tag(event.NAME) + b"".join(parts)


_KINDS = dict(EVENT_FIELDS)
_OPTION_BYTES = {None: b"\0", False: b"\1\0", True: b"\1\1"}


def _field_names(event: ChainEvent) -> list[str]:
    return [field.name for field in fields(event)]


def _written(kind: str, value: Any) -> bytes:
    match kind:
        case "k":
            return bytes(Pubkey.from_string(value))
        case "o":
            return _OPTION_BYTES[value]
        case "h":
            return bytes(value)
        case _:
            return struct.pack("<" + kind.replace("b", "?"), value)
