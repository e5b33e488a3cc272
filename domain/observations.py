"""What a read of a market's account means for the market."""

from __future__ import annotations

from dataclasses import replace

from domain import events as ev
from domain.disputes import mismatch
from domain.market import Market, observed_as
from domain.observed import ObservedMarket
from domain.refusals import AlreadyInState, Refusal
from domain.rules import Rules


def observe(market: Market, observed: ObservedMarket, rules: Rules) -> tuple[ev.Event, ...] | Refusal:
    """An older read never overwrites a newer one, and one that shows nothing new is no event.

    A dispute whose end shows for the first time is held against what its votes give.
    """
    if observed.slot <= market.observed_slot:
        return AlreadyInState(market.market_id)
    shows_nothing = observed_as(market, observed) == replace(market, observed_slot=observed.slot)
    if shows_nothing and not market.effect_unseen:
        return AlreadyInState(market.market_id)
    return (ev.MarketObserved(observed), *mismatch(market, observed, rules))
