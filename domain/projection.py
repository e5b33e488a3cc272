"""What the program's events mean for positions, trades and counts (CI 7.1); markets hear theirs as commands."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from domain.ids import MarketId
from domain.indexed import EventRecord
from domain.positions import Holding, Trade

TRADE_AMOUNTS = {"SharesBought": "cost", "SharesSold": "proceeds"}
TOUCHING = frozenset({*TRADE_AMOUNTS, "WinningsClaimed"})
"""Events after which their wallet's position has to be read again."""
TRADING_ENDED = "MarketResolved"
"""After it no position's shares change any more: a market that left ACTIVE never returns to it (CI 9)."""


@dataclass(frozen=True, slots=True)
class Projection:
    """What a batch of events writes; none of it depends on the order in which they came."""

    trades: tuple[Trade, ...] = ()
    touched: Mapping[Holding, int] = field(default_factory=dict)
    """Positions to be read again, with the slot that the read must not be older than."""
    ended: Mapping[MarketId, int] = field(default_factory=dict)
    """Markets whose trading has ended, with the slot of it: all their positions are read once more."""
    counts: Mapping[tuple[str, str], int] = field(default_factory=dict)
    """How many events there are of each market ("" for none) and type."""


def projection_of(events: Sequence[EventRecord]) -> Projection:
    """What events come to."""
    touched: dict[Holding, int] = {}
    ended: dict[MarketId, int] = {}
    for event in events:
        if event.market_id is None:
            continue
        if event.event_type in TOUCHING and event.wallet is not None:
            holding = Holding(event.market_id, event.wallet)
            touched[holding] = max(touched.get(holding, 0), event.slot)
        elif event.event_type == TRADING_ENDED:
            ended[event.market_id] = max(ended.get(event.market_id, 0), event.slot)
    return Projection(tuple(_trades(events)), touched, ended, _counts(events))


def _trades(events: Iterable[EventRecord]) -> Iterable[Trade]:
    for event in events:
        amount = TRADE_AMOUNTS.get(event.event_type)
        if amount is None or event.market_id is None or event.wallet is None or event.fault is not None:
            continue  # a fault here: that there was a trade is known, and not what it came to (T35)
        yield Trade(
            transaction_signature=event.signature,
            event_index=event.ordinal,
            holding=Holding(event.market_id, event.wallet),
            is_buy=event.event_type == "SharesBought",
            outcome=bool(event.data["outcome"]),
            shares=int(event.data["shares"]),
            amount=int(event.data[amount]),
            new_price_yes=int(event.data["new_price_yes"]),
            slot=event.slot,
            at_s=event.timestamp_s,
        )


def _counts(events: Sequence[EventRecord]) -> dict[tuple[str, str], int]:
    return dict(Counter((event.market_id or "", event.event_type) for event in events))
