"""What a read of a market's account means for the market."""

from __future__ import annotations

from dataclasses import replace

from domain import events as ev
from domain.disputes import mismatch
from domain.lifecycle import reachable
from domain.market import Market, observed_as
from domain.observed import ObservedMarket
from domain.refusals import AlreadyInState, Refusal
from domain.rules import Rules


def observe(market: Market, observed: ObservedMarket, rules: Rules) -> tuple[ev.Event, ...] | Refusal:
    """An older read never overwrites a newer one, and one that shows nothing new is no event.

    A dispute whose end shows for the first time is held against what its votes give. The chain is right also where no
    instruction leads from state to state (a slot was dropped): it is followed, and people hear of both states.
    """
    if observed.slot <= market.observed_slot:
        return AlreadyInState(market.market_id)
    shows_nothing = observed_as(market, observed) == replace(market, observed_slot=observed.slot)
    if shows_nothing and not market.effect_unseen:
        return AlreadyInState(market.market_id)
    return (ev.MarketObserved(observed), *mismatch(market, observed, rules), *_unexplained(market, observed))


def without_unexplained(decision: tuple[ev.Event, ...] | Refusal) -> tuple[ev.Event, ...] | Refusal:
    """The same, but that nobody is told of a state to which nothing leads."""
    if not isinstance(decision, tuple):
        return decision
    return tuple(event for event in decision if not isinstance(event, ev.StateUnexplained))


def _unexplained(market: Market, observed: ObservedMarket) -> tuple[ev.StateUnexplained, ...]:
    if observed.state is market.state or reachable(market.state, observed.state):
        return ()
    return (ev.StateUnexplained(market.state, observed.state),)
