"""Error names of zmart_core, Anchor and the System program; a name is looked up before a number (CI 8).

Two builds of zmart_core number their errors differently from 6005 on, so the name in the log line decides, and the
number is the fallback for a transaction without logs.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from importlib import resources
from types import MappingProxyType
from typing import Any, Literal

Build = Literal["new", "old"]
"""The two builds of zmart_core that were published."""

_ANCHOR = {
    100: ("InstructionMissing", "Instruction discriminator not provided"),
    101: ("InstructionFallbackNotFound", "Fallback functions are not supported"),
    102: ("InstructionDidNotDeserialize", "The program could not deserialize the given instruction"),
    2000: ("ConstraintMut", "A mut constraint was violated"),
    2001: ("ConstraintHasOne", "A has one constraint was violated"),
    2002: ("ConstraintSigner", "A signer constraint was violated"),
    2003: ("ConstraintRaw", "A raw constraint was violated"),
    2006: ("ConstraintSeeds", "A seeds constraint was violated"),
    3001: ("AccountDiscriminatorNotFound", "No discriminator was found on the account"),
    3002: ("AccountDiscriminatorMismatch", "Account discriminator did not match what was expected"),
    3003: ("AccountDidNotDeserialize", "Failed to deserialize the account"),
    3005: ("AccountNotEnoughKeys", "Not enough account keys given to the instruction"),
    3007: ("AccountOwnedByWrongProgram", "The given account is owned by a different program than expected"),
    3008: ("InvalidProgramId", "Program ID was not as expected"),
    3010: ("AccountNotSigner", "The given account did not sign"),
    3012: ("AccountNotInitialized", "The program expected this account to be already initialized"),
}

_SYSTEM = {0: "AccountAlreadyInUse", 1: "ResultWithNegativeLamports", 3: "InvalidAccountDataLength"}

_NAMED = re.compile(r"Error Code: (\w+)\. Error Number: (\d+)\.")
_FAILED_SYSTEM = re.compile(r"Program 1{32} failed: custom program error: 0x([0-9a-f]+)")


def idl_json() -> dict[str, Any]:
    """The program's interface as shipped with this package."""
    text = resources.files("chain").joinpath("zmart_core.json").read_text(encoding="utf-8")
    parsed: dict[str, Any] = json.loads(text)
    return parsed


def _table() -> dict[int, tuple[str, str]]:
    program = {int(entry["code"]): (str(entry["name"]), str(entry["msg"])) for entry in idl_json()["errors"]}
    return {**_ANCHOR, **program}


BY_NUMBER = MappingProxyType(_table())
"""Number to (name, message): Anchor's framework errors and the newer zmart_core build."""

BY_NAME = MappingProxyType({name: number for number, (name, _) in BY_NUMBER.items()})

ONLY_IN_NEW = "InvalidGlobalConfig"
"""The error the older build does not have, so that all behind it are one lower there (CI 8)."""


def _numbers_in_old() -> dict[str, int]:
    missing = BY_NAME[ONLY_IN_NEW]
    return {name: number - 1 if number > missing else number for name, number in BY_NAME.items() if name != ONLY_IN_NEW}


_NUMBERS: dict[Build, Mapping[str, int]] = {"new": BY_NAME, "old": MappingProxyType(_numbers_in_old())}
_NAMES: dict[Build, Mapping[int, str]] = {
    build: MappingProxyType({number: name for name, number in numbers.items()}) for build, numbers in _NUMBERS.items()
}
_OLD_PROGRAMS = frozenset(
    {
        "7h3gXfBfYFueFVLYyfL5Qo1QGsf4GQUfW96FKVgnUsJS",
        "8TVi2vkDxbeqETWDCwUtL6RUwFSYyBTaVF4wMMxciz3L",
        "3rQhUrqQhHxYCkj3RqTHL1PTrHSnUShMe3z4KdHaHjkz",
        "B5LimwoBn4aAqFmJsV1KtrxDbtEjaZ9WeNrfDWmJc42Z",
    }
)
"""Addresses of the older build that were seen on devnet (CI 1)."""


def numbers_of(build: Build) -> Mapping[str, int]:
    """Error name to number as `build` counts them, Anchor's own included."""
    return _NUMBERS[build]


def names_of(build: Build) -> Mapping[int, str]:
    """Error number to name as `build` counts them."""
    return _NAMES[build]


def words_of(name: str) -> str:
    """The message that goes with an error's name."""
    return BY_NUMBER[BY_NAME[name]][1]


def build_of(program_id: str) -> Build:
    """The build that runs at an address, as far as it is known; an unknown address is taken for the newer one."""
    return "old" if program_id in _OLD_PROGRAMS else "new"


def error_name(custom: int | None, logs: Iterable[str], runtime_name: str, build: Build = "new") -> str:
    """The one name for a failed instruction: from its log line, else from its number, else the runtime's own word.

    `custom` is the number of `{"Custom": n}`; `runtime_name` stands for failures without one, e.g. `BlockhashNotFound`.
    `build` decides only where the logs are missing.
    """
    if custom is None:
        return runtime_name
    lines = list(logs)
    for line in reversed(lines):
        named = _NAMED.search(line)
        if named and int(named[2]) == custom:
            return named[1]
    if any((hit := _FAILED_SYSTEM.search(line)) and int(hit[1], 16) == custom for line in lines):
        return _SYSTEM.get(custom, f"Custom{custom}")
    return names_of(build).get(custom) or _SYSTEM.get(custom, f"Custom{custom}")
