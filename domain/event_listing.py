"""The program's events as they are listed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

from domain.ids import MarketId, Wallet


class EventPlace(NamedTuple):
    """Where an event stands on chain; lists go by it, newest first (T41).

    `block_index` is the transaction's place in its block, -1 where no source told it: then the signature parts two
    transactions of one slot, in an order that means nothing and stays the same.
    """

    block_slot: int
    block_index: int
    transaction_signature: str
    event_index: int


NEWEST_PLACE = EventPlace(2**63 - 1, 2**31 - 1, "", 0)
"""Comes before every event."""


@dataclass(frozen=True, slots=True)
class EventFilter:
    """Which events are wanted; every condition that is given must hold. The range has its start in it, not its end."""

    market_id: MarketId | None = None
    event_type: str | None = None
    since: datetime | None = None
    until: datetime | None = None

    @property
    def has_dates(self) -> bool:
        """Whether a range of time is asked for."""
        return self.since is not None or self.until is not None


@dataclass(frozen=True, slots=True)
class IndexedEvent:
    """One event; 64-bit numbers in `data` are decimal strings, `market_id` is None where it names no known market."""

    place: EventPlace
    event_type: str
    market_id: MarketId | None
    wallet: Wallet | None
    data: Mapping[str, Any]
    timestamp: datetime
    commitment: str


@dataclass(frozen=True, slots=True)
class EventMatch:
    """What to search for: a prefix of market ids and signatures, and the event types that a name's beginning means."""

    prefix: str
    event_types: tuple[str, ...]
