"""The program's events as log lines (CI 7): base64 of discriminator and Borsh fields."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import Any

from chain.errors import Build
from chain.ledger.borsh import BOOL, HASH, I64, KEY, U8, U16, U32, U64, Kind, Layout, optional
from chain.ledger.zmart.records import discriminator

_FIELDS: dict[str, Sequence[Kind]] = {
    "GlobalConfigInitialized": (KEY, KEY, U16, I64),
    "ConfigUpdated": (U16, U16, U16, U16, U16, I64, I64, I64),
    "ProtocolPauseStatusChanged": (BOOL, KEY, I64),
    "MarketCreated": (KEY, KEY, U64, U8, I64),
    "ProposalVoteSubmitted": (KEY, KEY, BOOL, I64),
    "ProposalAggregated": (KEY, U32, U32, U8, BOOL, I64),
    "ProposalApproved": (KEY, KEY, I64),
    "MarketCancelled": (KEY, KEY, I64),
    "MarketActivated": (KEY, KEY, U64, I64),
    "SharesBought": (KEY, KEY, BOOL, U64, U64, U64, I64),
    "SharesSold": (KEY, KEY, BOOL, U64, U64, U64, I64),
    "MarketResolved": (KEY, KEY, BOOL, HASH, I64),
    "DisputeInitiated": (KEY, KEY, optional(BOOL), I64),
    "DisputeVoteSubmitted": (KEY, KEY, BOOL, I64),
    "DisputeAggregated": (KEY, U32, U32, U8, BOOL, I64),
    "MarketFinalized": (KEY, optional(BOOL), BOOL, I64),
    "WinningsClaimed": (KEY, KEY, optional(BOOL), U64, I64),
    "LiquidityWithdrawn": (KEY, KEY, U64, I64),
}

_OLD_CLAIM: Sequence[Kind] = (KEY, KEY, U64, U64, I64)
"""WinningsClaimed in the older build: another layout under the same discriminator (CI 7)."""

_NEW = {name: Layout(kinds) for name, kinds in _FIELDS.items()}
_LAYOUTS: dict[Build, dict[str, Layout]] = {"new": _NEW, "old": {**_NEW, "WinningsClaimed": Layout(_OLD_CLAIM)}}
_TAGS = {name: discriminator("event", name) for name in _FIELDS}


def event_bytes(name: str, *values: Any, build: Build = "new") -> bytes:
    """The event as a build of the program serialises it, discriminator first."""
    return _TAGS[name] + _LAYOUTS[build][name].encode(values)


def event_line(name: str, *values: Any, build: Build = "new") -> str:
    """The `Program data:` line that carries the event."""
    return "Program data: " + base64.b64encode(event_bytes(name, *values, build=build)).decode()
