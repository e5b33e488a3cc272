"""Calls of zmart_core as a transaction shows them: which instruction, its arguments, its accounts by name (CI 6, 6.1).

What an event would have said can be read off here where a log was cut off. One event each: every one of the 18
instructions logs exactly one when it succeeds, so the calls of a transaction, in order, are its events in order.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from domain.ids import base58_encode

DISCRIMINATOR_BYTES = 8
_CONFIG_ONLY = "admin global_config"
_TRADE = "global_config market position user protocol_fee_wallet system_program"
_VOTE = "market vote_record user system_program"
_TALLY = "market global_config backend_authority"

_CALLS: tuple[tuple[str, str, str, str], ...] = (
    (
        "initialize_global_config",
        "GlobalConfigInitialized",
        "k",
        "admin global_config protocol_fee_wallet system_program",
    ),
    ("update_global_config", "ConfigUpdated", "H H H H H ?q ?q", _CONFIG_ONLY),
    ("emergency_pause", "ProtocolPauseStatusChanged", "", _CONFIG_ONLY),
    ("create_market", "MarketCreated", "k Q Q h", "creator market global_config system_program"),
    ("submit_proposal_vote", "ProposalVoteSubmitted", "b", _VOTE),
    ("aggregate_proposal_votes", "ProposalAggregated", "I I", _TALLY),
    ("approve_proposal", "ProposalApproved", "", "admin market global_config"),
    ("cancel_market", "MarketCancelled", "", "admin market global_config"),
    ("activate_market", "MarketActivated", "", "authority market global_config"),
    ("buy_shares", "SharesBought", "b Q", _TRADE),
    ("sell_shares", "SharesSold", "b Q Q", _TRADE),
    ("resolve_market", "MarketResolved", "b h", "global_config market resolver"),
    ("initiate_dispute", "DisputeInitiated", "", "global_config market initiator"),
    ("submit_dispute_vote", "DisputeVoteSubmitted", "b", _VOTE),
    ("aggregate_dispute_votes", "DisputeAggregated", "I I", _TALLY),
    ("finalize_market", "MarketFinalized", "?I ?I", "global_config market backend_authority"),
    ("claim_winnings", "WinningsClaimed", "", "global_config market position user resolver system_program"),
    ("withdraw_liquidity", "LiquidityWithdrawn", "", "market creator"),
)


@dataclass(frozen=True, slots=True)
class Call:
    """One call that succeeded; `args` in the program's order, keys as base58 text, hashes as their 46 bytes."""

    name: str
    event: str
    """The event that it logged."""
    args: tuple[Any, ...]
    accounts: Mapping[str, str]
    data: bytes


def read_call(data: bytes, accounts: Sequence[str]) -> Call | None:
    """The call in an instruction's bytes; None for bytes or accounts that no instruction of ours has. Never raises."""
    known = _BY_TAG.get(data[:DISCRIMINATOR_BYTES])
    if known is None:
        return None
    name, event, kinds, names = known
    if len(accounts) < len(names):
        return None
    try:
        args = _args(data, kinds)
    except (struct.error, KeyError, IndexError):
        return None
    return Call(name, event, args, dict(zip(names, accounts, strict=False)), data)


def _args(data: bytes, kinds: Sequence[str]) -> tuple[Any, ...]:
    """Arguments one after the other; bytes behind the last are nobody's, as for the program itself."""
    found, at = [], DISCRIMINATOR_BYTES
    for kind in kinds:
        value, size = _READERS[kind](data, at)
        found.append(value)
        at += size
    return tuple(found)


Read = Callable[[bytes, int], tuple[Any, int]]


def _number(code: str) -> Read:
    form = struct.Struct("<" + code)
    return lambda data, at: (form.unpack_from(data, at)[0], form.size)


def _raw(size: int, shown: Callable[[bytes], Any]) -> Read:
    form = struct.Struct(f"{size}s")
    return lambda data, at: (shown(form.unpack_from(data, at)[0]), size)


def _option(of: Read) -> Read:
    def read(data: bytes, at: int) -> tuple[Any, int]:
        if not {0: False, 1: True}[data[at]]:
            return None, 1
        value, size = of(data, at + 1)
        return value, 1 + size

    return read


_READERS: dict[str, Read] = {
    "k": _raw(32, base58_encode),
    "h": _raw(46, bytes),
    "b": lambda data, at: ({0: False, 1: True}[data[at]], 1),
    "H": _number("H"),
    "I": _number("I"),
    "Q": _number("Q"),
    "?I": _option(_number("I")),
    "?q": _option(_number("q")),
}
_BY_TAG = {
    hashlib.sha256(f"global:{name}".encode()).digest()[:DISCRIMINATOR_BYTES]: (
        name,
        event,
        tuple(kinds.split()),
        tuple(accounts.split()),
    )
    for name, event, kinds, accounts in _CALLS
}
