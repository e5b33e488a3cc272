"""Transactions of this backend as they are listed."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

from domain.ids import MarketId


class TransactionPlace(NamedTuple):
    """A transaction's place in a list: microseconds of its plan since 1970, then its id."""

    planned_us: int
    transaction_id: str


@dataclass(frozen=True, slots=True)
class TransactionFilter:
    """Which ones; None is any."""

    market_id: MarketId | None = None
    status: str | None = None
    action: str | None = None
    transaction_id: str | None = None


@dataclass(frozen=True, slots=True)
class ListedTransaction:
    """One row; `signature` and `error_name` are empty, height and slot 0, while there is none."""

    place: TransactionPlace
    market_id: MarketId
    action: str
    attempt: int
    status: str
    signature: str
    last_valid_block_height: int
    slot: int
    error_name: str
    planned_at: datetime
    updated_at: datetime
