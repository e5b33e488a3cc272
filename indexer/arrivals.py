"""Transactions as they are told to us, whatever the shape, as one kind of value (traps section 2).

Pure, and total over any bytes: what cannot be read becomes `Unreadable` and never an exception but `BodyMalformed`.
Shapes: Helius raw (and the answer of getTransaction), Helius enhanced, the specification's own; an array or an object.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson

from domain.ids import KEY_BYTES, MalformedId, base58_decode

ITEMS_MAX = 1_000
"""Transactions in one body (C1)."""
KEYS_MAX = 256
"""Accounts that one transaction can name: their index is a byte."""
LOG_LINES_MAX = 10_000
"""A log has 10,000 bytes at most (C3)."""
ERR_CHARS_MAX = 1_000
KEY_CHARS_MAX = 44
SIGNATURE_BYTES = 64
SLOT_MAX = 2**63 - 1
INDEX_MAX = 2**31 - 1
UNIX_S_MAX = 253_402_300_799
"""The end of the year 9999, beyond which no calendar of ours goes."""
TRUNCATED = "Log truncated"


class BodyMalformed(ValueError):
    """Bytes that are no JSON array of transactions and no such object; says why."""


@dataclass(frozen=True, slots=True)
class Arrival:
    """A transaction with its log. `keys` are the accounts that it names, empty where the shape does not tell."""

    signature: str
    slot: int
    block_index: int | None
    block_time_s: int | None
    err: str | None
    logs: tuple[str, ...]
    keys: tuple[str, ...] = ()
    shown: Mapping[str, Any] | None = field(default=None, compare=False, repr=False)
    """The whole item in the raw shape, for its instructions where the log is cut off."""


@dataclass(frozen=True, slots=True)
class Hint:
    """A transaction whose log was not told: it has to be read from a node, never dropped (traps section 2)."""

    signature: str
    slot: int | None


@dataclass(frozen=True, slots=True)
class Unreadable:
    """An item of a body that is no transaction of any known shape."""

    why: str


class _Bad(ValueError):
    """Why an item cannot be read."""


def items_of(body: bytes) -> list[Any]:
    """The items of a body, not looked at yet; raises `BodyMalformed`."""
    value = _json(body)
    items = value if isinstance(value, list) else [value]
    if not all(isinstance(item, dict) for item in items):
        raise BodyMalformed("neither an object nor an array of objects")
    if len(items) > ITEMS_MAX:
        raise BodyMalformed(f"more than {ITEMS_MAX} items")
    return items


def _json(body: bytes) -> Any:
    """orjson takes a quarter of the time; what it does not take, lone surrogates for one, json may."""
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        pass
    try:
        return json.loads(body)
    except (ValueError, RecursionError) as fault:  # also for text that is no UTF-8 and numbers of 4,300 digits
        raise BodyMalformed(f"not JSON: {type(fault).__name__}") from fault


def fault_of_body(body: bytes) -> str | None:
    """What is wrong with a body, None when its items can be looked at."""
    try:
        items_of(body)
    except BodyMalformed as fault:
        return str(fault)
    return None


def read_item(item: Mapping[str, Any]) -> Arrival | Hint | Unreadable:
    """One item in whatever shape it has."""
    try:
        return _read(item)
    except _Bad as bad:
        return Unreadable(str(bad))
    except RecursionError:  # an `err` that is nested as deep as JSON can be
        return Unreadable("nested too deep")


def _read(item: Mapping[str, Any]) -> Arrival | Hint:
    transaction = item.get("transaction")
    if isinstance(transaction, dict) and "signatures" in transaction:
        return _raw(item, transaction)
    if isinstance(transaction, dict) and "signature" in transaction:
        return _specified(transaction)
    if "signature" in item:
        return Hint(_signature(item["signature"]), _optional(item.get("slot"), "slot", SLOT_MAX))
    raise _Bad("no signature where any known shape has one")


def _raw(item: Mapping[str, Any], transaction: Mapping[str, Any]) -> Arrival | Hint:
    """Helius raw, and getTransaction, which lacks `indexWithinBlock`."""
    signatures = transaction["signatures"]
    if not isinstance(signatures, list) or not signatures:
        raise _Bad("signatures is no list of signatures")
    signature, slot = _signature(signatures[0]), _number(item.get("slot"), "slot", SLOT_MAX)
    meta = item.get("meta")
    if not isinstance(meta, dict) or meta.get("logMessages") is None or "err" not in meta:
        return Hint(signature, slot)
    return Arrival(
        signature=signature,
        slot=slot,
        block_index=_optional(item.get("indexWithinBlock"), "indexWithinBlock", INDEX_MAX),
        block_time_s=_optional(item.get("blockTime"), "blockTime", UNIX_S_MAX),
        err=_err(meta["err"]),
        logs=_logs(meta["logMessages"]),
        keys=_keys(transaction.get("message"), meta.get("loadedAddresses")),
        shown=item,
    )


def _specified(transaction: Mapping[str, Any]) -> Arrival | Hint:
    """The specification's shape: a log, and no word on whether the transaction failed.

    A call that fails ends the transaction, so a log with a failed call in it is a failed transaction's; a log that is
    cut off proves nothing, and a node has to be asked.
    """
    signature, slot = _signature(transaction["signature"]), _optional(transaction.get("slot"), "slot", SLOT_MAX)
    told = transaction.get("logs")
    if told is None or slot is None:
        return Hint(signature, slot)
    logs = _logs(told)
    if TRUNCATED in logs:
        return Hint(signature, slot)
    block_time = transaction.get("blockTime", transaction.get("timestamp"))
    block_time_s = block_time if _is_number(block_time, UNIX_S_MAX) else None
    failed = any(line.startswith("Program ") and " failed: " in line for line in logs)
    return Arrival(signature, slot, None, block_time_s, "a call failed" if failed else None, logs)


def _signature(value: Any) -> str:
    if not isinstance(value, str) or not 64 <= len(value) <= 88:
        raise _Bad("a signature that is no base58 text of 64 bytes")
    try:
        raw = base58_decode(value)
    except MalformedId as fault:
        raise _Bad("a signature that is no base58 text") from fault
    if len(raw) != SIGNATURE_BYTES:
        raise _Bad(f"a signature of {len(raw)} bytes")
    return value


def _is_number(value: Any, value_max: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= value_max


def _number(value: Any, name: str, value_max: int) -> int:
    if not _is_number(value, value_max):
        raise _Bad(f"{name} is no number from 0 to {value_max}")
    return int(value)


def _optional(value: Any, name: str, value_max: int) -> int | None:
    return None if value is None else _number(value, name, value_max)


def _err(value: Any) -> str | None:
    return None if value is None else json.dumps(value)[:ERR_CHARS_MAX]


def _logs(value: Any) -> tuple[str, ...]:
    if not isinstance(value, list) or len(value) > LOG_LINES_MAX or not all(isinstance(line, str) for line in value):
        raise _Bad("the log is no list of lines")
    return tuple(value)


def _keys(message: Any, loaded: Any) -> tuple[str, ...]:
    """Every account that is named, those from look-up tables last; as text, or as jsonParsed wraps it."""
    named = message.get("accountKeys") if isinstance(message, dict) else None
    sources: list[Any] = list(named) if isinstance(named, list) else []
    if isinstance(loaded, dict):
        for part in (loaded.get("writable"), loaded.get("readonly")):
            sources += part if isinstance(part, list) else []
    texts = [key.get("pubkey") if isinstance(key, dict) else key for key in sources[:KEYS_MAX]]
    return tuple(text for text in texts if isinstance(text, str) and len(text) <= KEY_CHARS_MAX)


def is_key(text: str) -> bool:
    """Whether a text is base58 of 32 bytes; too dear to ask of every account of every transaction."""
    try:
        return len(base58_decode(text)) == KEY_BYTES
    except MalformedId:
        return False


def names_program(arrival: Arrival, program_id: str) -> bool:
    """Whether the program has anything to do with it; others come when a webhook watches more than it should."""
    return program_id in arrival.keys or any(line.startswith(f"Program {program_id} ") for line in arrival.logs)
