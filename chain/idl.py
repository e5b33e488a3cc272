"""The interface definition of zmart_core: the one shipped here, or the operator's own file, held to what we build on.

Both formats that Anchor has written are read (`idl_formats.py`). Calls, accounts and events are compared part by part;
a definition may hold more of them, and anchorpy is never shown those.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from anchorpy_core.idl import Idl

from chain.errors import Build, idl_json, numbers_of
from chain.idl_formats import in_older_format

IDL_BYTES_MAX = 1024 * 1024
"""zmart_core's own file has 60 KB."""
_CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
_CLAIM = "event WinningsClaimed"
_OLD_CLAIM = ("market_id: [u8; 32]", "user: pubkey", "amount: u64", "resolver_fee: u64", "timestamp: i64")

Shape = Mapping[str, tuple[str, ...]]
"""What an interface promises: an entry for each instruction, account, event and type, spelled alike for all formats."""


class UnusableIdl(Exception):
    """A file that is no interface definition, or not that of the zmart_core we know; says what is in the way."""

    def __init__(self, source: str, fault: str) -> None:
        super().__init__(f"{source}: {fault}")
        self.source = source
        self.fault = fault


@dataclass(frozen=True, eq=False)
class Interface:
    """An interface definition that fits: `build` is the one it describes, `address` the program id it names, if any."""

    idl: Idl
    build: Build
    address: str | None = None


@cache
def zmart_idl() -> Idl:
    """The shipped IDL, parsed: 18 instructions, 4 accounts, 18 events, 52 errors."""
    return Idl.from_json(json.dumps(idl_json()))


@cache
def shipped_interface() -> Interface:
    """The newer build, written from the published tables."""
    return Interface(zmart_idl(), "new")


def load_interface(path: Path) -> Interface:
    """Read the operator's file; raises `UnusableIdl`."""
    try:
        with path.open("rb") as file:
            raw = file.read(IDL_BYTES_MAX + 1)
    except OSError as error:
        raise UnusableIdl(str(path), f"cannot be read: {error.strerror}") from error
    if len(raw) > IDL_BYTES_MAX:
        raise UnusableIdl(str(path), f"is larger than {IDL_BYTES_MAX} bytes")
    return parse_interface(raw, str(path))


def parse_interface(raw: bytes, source: str) -> Interface:
    """Read an interface definition; raises `UnusableIdl`, with `source` in its sentence."""
    try:
        parsed = json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise UnusableIdl(source, f"is not JSON: {error}") from error
    try:
        found = in_older_format(parsed)
        shape, errors = _shape(found), _errors(found)
        address = _address(parsed)
    except (KeyError, TypeError, ValueError, AttributeError, IndexError, RecursionError) as error:
        raise UnusableIdl(source, f"is no Anchor interface definition, old or new: {error!r}") from error
    build = _build_of(shape)
    for fault in (*_differences(shape, build), *_error_differences(errors, build)):
        raise UnusableIdl(source, f"does not describe the zmart_core this backend speaks to: {fault}")
    try:
        idl = Idl.from_json(json.dumps(_used(found)))
    except Exception as error:  # anchorpy_core raises a class of its own that it does not export
        raise UnusableIdl(source, f"is not as Anchor writes it: {error}") from error
    return Interface(idl, build, address)


def _used(old: Mapping[str, Any]) -> dict[str, Any]:
    """Only what was compared: anchorpy need not understand what another build has on top."""
    sections = ("instructions", "accounts", "events", "types")
    names = {section: {entry["name"] for entry in idl_json()[section]} for section in sections}
    return {
        "version": str(old.get("version", "")),
        "name": str(old.get("name", "")),
        "errors": [],
        **{section: [entry for entry in old[section] if entry["name"] in names[section]] for section in sections},
    }


def _address(parsed: Mapping[str, Any]) -> str | None:
    """Top level since 0.30, in `metadata` before."""
    address = parsed.get("address") or (parsed.get("metadata") or {}).get("address")
    return str(address) if address else None


def _snake(name: str) -> str:
    return _CAMEL.sub("_", name).lower()


def _shape(old: Mapping[str, Any]) -> Shape:
    return dict(_entries(old))


def _entries(old: Mapping[str, Any]) -> Iterator[tuple[str, tuple[str, ...]]]:
    for call in old["instructions"]:
        name = _snake(call["name"])
        yield f"arguments of {name}", _spelled(call["args"])
        yield f"accounts of {name}", tuple(_rights(entry) for entry in call["accounts"])
    for entry in old.get("accounts", []):
        yield f"account {entry['name']}", _spelled(entry["type"]["fields"])
    for entry in old.get("events", []):
        yield f"event {entry['name']}", _spelled(entry["fields"])
    for entry in old.get("types", []):
        if entry["type"]["kind"] == "enum":
            yield f"type {entry['name']}", tuple(variant["name"] for variant in entry["type"]["variants"])


def _spelled(items: list[Mapping[str, Any]]) -> tuple[str, ...]:
    return tuple(f"{_snake(item['name'])}: {_type(item['type'])}" for item in items)


def _rights(entry: Mapping[str, Any]) -> str:
    rights = [word for word, holds in (("writable", entry["isMut"]), ("signer", entry["isSigner"])) if holds]
    return " ".join([_snake(entry["name"]), *rights])


def _type(kind: Any) -> str:
    match kind:
        case "publicKey":
            return "pubkey"
        case str(name) | {"defined": str(name)}:
            return name
        case {"option": inner}:
            return f"Option<{_type(inner)}>"
        case {"array": [inner, size]}:
            return f"[{_type(inner)}; {size}]"
        case _:
            return json.dumps(kind, sort_keys=True)  # of something we do not use


def _errors(old: Mapping[str, Any]) -> Mapping[str, int]:
    return {str(entry["name"]): int(entry["code"]) for entry in old.get("errors", [])}


def _build_of(shape: Shape) -> Build:
    return "old" if shape.get(_CLAIM) == _OLD_CLAIM else "new"


@cache
def _expected(build: Build) -> Shape:
    shape = _shape(idl_json())
    return shape if build == "new" else {**shape, _CLAIM: _OLD_CLAIM}


def _differences(found: Shape, build: Build) -> Iterator[str]:
    for name, expected in _expected(build).items():
        if name not in found:
            yield f"{name}: missing"
        elif found[name] != expected:
            yield f"{name}: {_first_difference(found[name], expected)}"


def _first_difference(found: tuple[str, ...], expected: tuple[str, ...]) -> str:
    for index, wanted in enumerate(expected):
        if index >= len(found):
            return f"{wanted!r} is missing"
        if found[index] != wanted:
            return f"{found[index]!r} instead of {wanted!r}"
    return f"{found[len(expected)]!r} is too many"


def _error_differences(found: Mapping[str, int], build: Build) -> Iterator[str]:
    numbers = numbers_of(build)
    for name, number in found.items():
        if numbers.get(name) != number:
            yield f"error {name} has number {number}, in the {build} build it has {numbers.get(name)}"
