"""The two formats of Anchor interface definitions, and the newer one in the words of the older.

Before 0.30 names are in camelCase and accounts have `isMut`; since then names are in snake_case, accounts have
`writable`, entries bring their discriminators, and `types` holds every struct. anchorpy understands the older one only.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any


def in_older_format(parsed: Any) -> dict[str, Any]:
    """The definition in the older format, unchanged if it is in it; raises what indexing foreign JSON raises."""
    if not isinstance(parsed, dict) or not isinstance(parsed.get("instructions"), list):
        raise TypeError("no list of instructions")
    return _rewritten(parsed) if _is_newer(parsed) else parsed


def _is_newer(parsed: Mapping[str, Any]) -> bool:
    return "spec" in (parsed.get("metadata") or {}) or any("discriminator" in call for call in parsed["instructions"])


def _rewritten(parsed: Mapping[str, Any]) -> dict[str, Any]:
    """The newer format in the words of the older: account and event fields move from `types` to where they are used."""
    types = {entry["name"]: entry["type"] for entry in parsed.get("types", [])}
    _check_discriminators(parsed)
    accounts, events = parsed.get("accounts", []), parsed.get("events", [])
    return {
        "version": parsed["metadata"]["version"],
        "name": parsed["metadata"]["name"],
        "instructions": [_rewritten_instruction(call) for call in parsed["instructions"]],
        "accounts": [{"name": entry["name"], "type": _rewritten_struct(types[entry["name"]])} for entry in accounts],
        "types": [entry for entry in parsed.get("types", []) if entry["type"]["kind"] == "enum"],
        "events": [
            {"name": entry["name"], "fields": [{**item, "index": False} for item in _fields(types[entry["name"]])]}
            for entry in events
        ],
        "errors": parsed.get("errors", []),
    }


def _check_discriminators(parsed: Mapping[str, Any]) -> None:
    """Anchor lets a program choose its own tags since 0.31; anchorpy and we derive them from the names."""
    for space, section in (("global", "instructions"), ("account", "accounts"), ("event", "events")):
        for entry in parsed.get(section, []):
            derived = hashlib.sha256(f"{space}:{entry['name']}".encode()).digest()[:8]
            if bytes(entry["discriminator"]) != derived:
                raise ValueError(f"discriminator of {entry['name']} is not the one of its name")


def _rewritten_instruction(call: Mapping[str, Any]) -> dict[str, Any]:
    accounts = [
        {
            "name": _camel(entry["name"]),
            "isMut": bool(entry.get("writable", False)),
            "isSigner": bool(entry.get("signer", False)),
        }
        for entry in call["accounts"]
    ]
    return {"name": _camel(call["name"]), "accounts": accounts, "args": _fields({"fields": call["args"]})}


def _rewritten_struct(kind: Mapping[str, Any]) -> dict[str, Any]:
    return {"kind": "struct", "fields": _fields(kind)}


def _fields(kind: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [{"name": _camel(item["name"]), "type": _rewritten_type(item["type"])} for item in kind["fields"]]


def _rewritten_type(kind: Any) -> Any:
    match kind:
        case "pubkey":
            return "publicKey"
        case {"option": inner}:
            return {"option": _rewritten_type(inner)}
        case {"array": [inner, size]}:
            return {"array": [_rewritten_type(inner), size]}
        case {"defined": {"name": name}}:
            return {"defined": name}
        case _:
            return kind


def _camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(word.capitalize() for word in rest)
