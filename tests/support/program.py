"""Interface definitions of zmart_core in the formats and builds that an operator may hold."""

import hashlib
import json
import re
from typing import Any

from chain.errors import idl_json, numbers_of

_CLAIM = [
    ("marketId", {"array": ["u8", 32]}),
    ("user", "publicKey"),
    ("amount", "u64"),
    ("resolverFee", "u64"),
    ("timestamp", "i64"),
]


def old_build() -> dict[str, Any]:
    """The older build in the older format: its own WinningsClaimed, 51 errors."""
    idl = idl_json()
    for event in idl["events"]:
        if event["name"] == "WinningsClaimed":
            event["fields"] = [{"name": name, "type": kind, "index": False} for name, kind in _CLAIM]
    numbers = numbers_of("old")
    idl["errors"] = [{**e, "code": numbers[e["name"]]} for e in idl["errors"] if e["name"] in numbers]
    return idl


def newer_format(old: dict[str, Any], address: str) -> dict[str, Any]:
    """The same definition as Anchor 0.30 and later write it."""
    structs = [{"name": e["name"], "type": _newer(e["type"])} for e in (*old["accounts"], *old["types"])]
    events = [{"name": e["name"], "type": _newer({"kind": "struct", "fields": e["fields"]})} for e in old["events"]]
    return {
        "address": address,
        "metadata": {"name": old["name"], "version": old["version"], "spec": "0.1.0"},
        "instructions": [
            {
                "name": _snake(call["name"]),
                "discriminator": _tag("global", _snake(call["name"])),
                "accounts": [_account(entry) for entry in call["accounts"]],
                "args": [_field(item) for item in call["args"]],
            }
            for call in old["instructions"]
        ],
        "accounts": [{"name": e["name"], "discriminator": _tag("account", e["name"])} for e in old["accounts"]],
        "events": [{"name": e["name"], "discriminator": _tag("event", e["name"])} for e in old["events"]],
        "errors": old["errors"],
        "types": [*structs, *events],
    }


def text(idl: dict[str, Any]) -> bytes:
    return json.dumps(idl).encode()


def _account(entry: dict[str, Any]) -> dict[str, Any]:
    rights = {"writable": entry["isMut"], "signer": entry["isSigner"]}
    return {"name": _snake(entry["name"]), **{name: True for name, holds in rights.items() if holds}}


def _newer(kind: dict[str, Any]) -> dict[str, Any]:
    return kind if kind["kind"] == "enum" else {"kind": "struct", "fields": [_field(item) for item in kind["fields"]]}


def _field(item: dict[str, Any]) -> dict[str, Any]:
    kind = item["type"]
    if isinstance(kind, dict) and "defined" in kind:
        kind = {"defined": {"name": kind["defined"]}}
    return {"name": _snake(item["name"]), "type": "pubkey" if kind == "publicKey" else kind}


def _snake(name: str) -> str:
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower()


def _tag(space: str, name: str) -> list[int]:
    return list(hashlib.sha256(f"{space}:{name}".encode()).digest()[:8])
