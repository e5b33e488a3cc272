"""Instructions of a transaction in the order in which they ran, calls from within others included. Pure and total.

A call that another program made stands among the inner instructions; those of a failed call cannot be there, because a
failed call fails its transaction.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from domain.ids import MalformedId, base58_decode
from indexer.arrivals import KEYS_MAX, Arrival, is_key


@dataclass(frozen=True, slots=True)
class Frame:
    """One instruction: whose it is, what it names, and what it says, if it is ours."""

    program: str
    accounts: tuple[str, ...]
    data: bytes


@dataclass(frozen=True, slots=True)
class Frames:
    """All instructions of one transaction; `balances` are lamports of each account before and after it."""

    ran: tuple[Frame, ...]
    balances: Mapping[str, tuple[int, int]]
    payer: str

    def only_one_names(self, account: str) -> bool:
        """Whether one instruction alone has to do with an account, so that its balance moved by that one."""
        return sum(account in frame.accounts for frame in self.ran) == 1


DATA_CHARS_MAX = 2_048
"""Base58 of 1,232 bytes, the most that a transaction has; our longest instruction has 102."""
U64_MAX = 2**64 - 1
"""The most lamports that an account can have, and that an event can tell of."""


class _Unshown(ValueError):
    """Something that is not there, or not as a node shows it."""


def frames_of(arrival: Arrival, program_id: str) -> Frames | None:
    """The instructions; None for a shape without them, one without inner ones, or one that is no node's."""
    try:
        return None if arrival.shown is None else _frames(arrival.shown, arrival.keys, program_id)
    except (_Unshown, MalformedId, KeyError, IndexError, TypeError, AttributeError, ValueError):
        return None


def _frames(shown: Mapping[str, Any], keys: Sequence[str], program_id: str) -> Frames:
    message, meta = shown["transaction"]["message"], shown["meta"]
    loaded = meta.get("loadedAddresses") or {}
    named = len(message["accountKeys"]) + len(loaded.get("writable", ())) + len(loaded.get("readonly", ()))
    if not 0 < named == len(keys) <= KEYS_MAX or not isinstance(meta["innerInstructions"], list):
        raise _Unshown("keys or inner instructions are missing")
    if not all(is_key(key) for key in keys):
        raise _Unshown("an account whose name is no key, so no event could name it either")
    inner = {group["index"]: group["instructions"] for group in meta["innerInstructions"]}
    if len(inner) != len(meta["innerInstructions"]) or not inner.keys() <= set(range(len(message["instructions"]))):
        raise _Unshown("inner instructions of no instruction")
    ran = tuple(_frame(each, keys, program_id) for each in _in_order(message["instructions"], inner))
    return Frames(ran, _balances(meta, keys), keys[0])


def _in_order(outer: Sequence[Any], inner: Mapping[int, Sequence[Any]]) -> Iterator[Any]:
    for index, instruction in enumerate(outer):
        yield instruction
        yield from inner.get(index, ())


def _frame(instruction: Mapping[str, Any], keys: Sequence[str], program_id: str) -> Frame:
    indices = [instruction["programIdIndex"], *instruction["accounts"]]
    if not all(isinstance(index, int) and 0 <= index < len(keys) for index in indices):
        raise _Unshown("an account that is not among the keys")
    program, *accounts = (keys[index] for index in indices)
    if program != program_id:
        return Frame(program, tuple(accounts), b"")
    if len(instruction["data"]) > DATA_CHARS_MAX:
        raise _Unshown("an instruction longer than any transaction")
    return Frame(program, tuple(accounts), base58_decode(instruction["data"]))


def _balances(meta: Mapping[str, Any], keys: Sequence[str]) -> Mapping[str, tuple[int, int]]:
    before, after = meta["preBalances"], meta["postBalances"]
    told = [*before, *after]
    if not len(before) == len(after) == len(keys) or not all(isinstance(n, int) and 0 <= n <= U64_MAX for n in told):
        raise _Unshown("balances of other accounts")
    return dict(zip(keys, zip(before, after, strict=True), strict=True))
