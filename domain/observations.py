"""What a read of a market's account means for the market."""

from __future__ import annotations

from dataclasses import replace

from domain import events as ev
from domain.market import Market, observed_as
from domain.observed import ObservedMarket
from domain.refusals import AlreadyInState, Refusal


def observe(market: Market, observed: ObservedMarket) -> tuple[ev.Event, ...] | Refusal:
    """An older read never overwrites a newer one, and one that shows nothing new is no event."""
    if observed.slot <= market.observed_slot:
        return AlreadyInState(market.market_id)
    if observed_as(market, observed) == replace(market, observed_slot=observed.slot):
        return AlreadyInState(market.market_id)
    return (ev.MarketObserved(observed),)
