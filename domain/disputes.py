"""When a market's last window ends, what ends it, and whether the chain made of it what it should have."""

from __future__ import annotations

from typing import assert_never

from domain import events as ev
from domain.intents import Action, Expectation, Intent
from domain.lifecycle import Lifecycle
from domain.market import Market
from domain.observed import ChainConfig, ObservedMarket
from domain.rescale import fit_u32
from domain.rules import Now, Rules, ZeroVotes
from domain.tally import Tally

MARGIN_S = 5
"""Added to every window: the clock that we read and the one that the program runs on may differ by some slots (T95)."""


def window_ends_s(market: Market, config: ChainConfig) -> int | None:
    """When the market may be ended, in chain time, by the live dispute period (CI Q8); None outside both windows."""
    began_s = {
        Lifecycle.RESOLVING: market.resolution_proposed_at_s,
        Lifecycle.DISPUTED: market.dispute_initiated_at_s,
    }.get(market.state)
    return None if began_s is None else began_s + config.dispute_period_s + MARGIN_S


def plan_end(market: Market, rules: Rules, now: Now) -> ev.IntentPlanned | ev.Skip:
    """The one transaction that ends the market, once its window has ended; votes stop with the plan (P2, T15)."""
    assert rules.config is not None
    if market.state is Lifecycle.RESOLVING:
        return ev.IntentPlanned(_intent(market, now, Action.FINALIZE, None), False, Tally(), 0)
    expectation = _expectation(market.dispute, rules)
    if expectation is None:
        return ev.Skip.HELD
    pair = (expectation.yes, expectation.no)
    action = Action.FINALIZE if any(pair) else Action.INVALIDATE
    return ev.IntentPlanned(
        _intent(market, now, action, pair), True, market.dispute, expectation.threshold_bps, expectation
    )


def mismatch(market: Market, observed: ObservedMarket, rules: Rules) -> tuple[ev.FinalizationMismatched, ...]:
    """What is wrong about the end of a dispute that a read shows: at most one event.

    Expected is what our own plan was made with, also after a restart; where somebody else ended it, what the tally of
    now gives. With nothing to expect (held without votes, GlobalConfig unknown) nothing is wrong.
    """
    if market.state is not Lifecycle.DISPUTED or observed.state is not Lifecycle.FINALIZED:
        return ()
    expectation = market.expectation or _expectation(market.dispute, rules)
    if expectation is None:
        return ()
    expected, found = expectation.outcome(market.proposed_outcome), observed.final_outcome
    if expected is found:
        return ()
    return (
        ev.FinalizationMismatched(expected, found, expectation, (observed.dispute_agree, observed.dispute_disagree)),
    )


def _expectation(tally: Tally, rules: Rules) -> Expectation | None:
    """The pair to send for a tally; None where nothing may be sent or nothing is known."""
    if rules.config is None:
        return None
    threshold_bps = rules.config.dispute_threshold_bps
    if tally.total:
        return Expectation(*fit_u32(tally.yes, tally.no, threshold_bps), threshold_bps)
    match rules.zero_votes:
        case ZeroVotes.UPHOLD:
            return Expectation(0, 1, threshold_bps)
        case ZeroVotes.INVALIDATE:
            return Expectation(0, 0, threshold_bps)
        case ZeroVotes.HOLD:
            return None
        case _:
            assert_never(rules.zero_votes)


def _intent(market: Market, now: Now, action: Action, pair: tuple[int, int] | None) -> Intent:
    yes, no = pair or (None, None)
    return Intent(now.new_id(), market.market_id, action, market.failures + 1, yes, no)
