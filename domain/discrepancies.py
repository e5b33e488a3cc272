"""Discrepancies as they are stored and shown, and how a run of the reconciliation ended."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

from domain.ids import MarketId, Wallet


class DiscrepancyPlace(NamedTuple):
    """The last discrepancy of a page: they go by detection, newest first, in Unix microseconds, then by id."""

    detected_at_us: int
    id: str


@dataclass(frozen=True, slots=True)
class StoredDiscrepancy:
    """One field on which database and chain disagreed in two runs; `wallet` is that of a position."""

    place: DiscrepancyPlace
    market_id: MarketId
    wallet: Wallet | None
    field: str
    database_value: str
    chain_value: str
    slot: int
    repaired: bool
    detected_at: datetime


@dataclass(frozen=True, slots=True)
class RunResult:
    """What a run compared, found and repaired; `error` says why it could not finish."""

    checked: int = 0
    discrepancies: int = 0
    repaired: int = 0
    error: str | None = None
