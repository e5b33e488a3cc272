"""What is sent to the chain about a market, and what the end of an attempt means."""

from __future__ import annotations

from domain import events as ev
from domain.intents import Action, Intent, IntentStatus, Settlement
from domain.lifecycle import Lifecycle
from domain.market import Market, evolve
from domain.observations import observe
from domain.refusals import AlreadyInState, Refusal
from domain.rules import Now, Rules
from domain.tally import Tally

RETRY_DELAYS_S = (300, 600, 1200)
"""Wait after the first, second, third failed attempt; the last one repeats (T14)."""


def approvable(market: Market, rules: Rules) -> bool:
    """Whether the confirmed tallies would pass `approve_proposal` and the quorum is there (P1, T20)."""
    return rules.config is not None and _passes(Tally(market.confirmed_likes, market.confirmed_dislikes), rules)


def _passes(tally: Tally, rules: Rules) -> bool:
    assert rules.config is not None
    return tally.total >= rules.min_proposal_votes and tally.meets(rules.config.proposal_threshold_bps)


def fire(market: Market, rules: Rules, now: Now) -> tuple[ev.Event, ...] | Refusal:
    """A deadline: send changed tallies, or the approval that they allow; a busy market keeps its attempt."""
    if market.state is not Lifecycle.PROPOSED or market.intent is not None or rules.config is None:
        return AlreadyInState(market.market_id)
    if not rules.config.may_aggregate or now.wall_s < market.next_attempt_at_s:
        return AlreadyInState(market.market_id)
    if market.unsubmitted:
        return (_plan_tallies(market, rules, now),)
    if approvable(market, rules) and rules.config.may_approve:
        return (_plan_approval(market, now),)
    return (ev.AggregationSkipped("unchanged"),)


def _plan_tallies(market: Market, rules: Rules, now: Now) -> ev.IntentPlanned:
    assert rules.config is not None
    tally = market.proposal
    closes = rules.config.may_approve and _passes(tally, rules)
    intent = Intent(now.new_id(), market.market_id, Action.AGGREGATE_PROPOSAL, market.failures + 1, tally.yes, tally.no)
    return ev.IntentPlanned(intent, closes, tally.percentage_bps, rules.config.proposal_threshold_bps)


def _plan_approval(market: Market, now: Now) -> ev.IntentPlanned:
    intent = Intent(now.new_id(), market.market_id, Action.APPROVE, market.failures + 1)
    return ev.IntentPlanned(intent, True, 0, 0)


def settle(market: Market, settlement: Settlement, rules: Rules, now: Now) -> tuple[ev.Event, ...] | Refusal:
    """The end of an attempt: what the account shows first, then what the attempt itself means."""
    is_current = market.intent is not None and market.intent.intent_id == settlement.intent.intent_id
    if not is_current and settlement.status in (IntentStatus.CONFIRMED, IntentStatus.FINALIZED):
        return AlreadyInState(market.market_id)
    seen: tuple[ev.Event, ...] = ()
    if settlement.observed is not None:
        observation = observe(market, settlement.observed)
        seen = observation if isinstance(observation, tuple) else ()
    if not is_current:
        return seen + _undone(market, settlement, rules) or AlreadyInState(market.market_id)
    if settlement.status in (IntentStatus.CONFIRMED, IntentStatus.FINALIZED):
        return seen + _confirmed(market, settlement.intent, rules, now)
    delay_s = RETRY_DELAYS_S[min(market.failures, len(RETRY_DELAYS_S) - 1)]
    reason = settlement.error_name or settlement.status.value
    return (*seen, ev.AttemptFailed(settlement.intent, reason, now.wall_s + delay_s))


def _confirmed(market: Market, intent: Intent, rules: Rules, now: Now) -> tuple[ev.Event, ...]:
    if intent.action is Action.APPROVE:
        return (ev.ApprovalConfirmed(intent),)
    landed: tuple[ev.Event, ...] = (ev.TalliesConfirmed(intent, intent.yes, intent.no),)
    if rules.config is None or not _passes(Tally(intent.yes, intent.no), rules):
        return (*landed, ev.ApprovalNoLongerReady()) if market.approval_ready else landed
    if not market.approval_ready:
        landed = (*landed, ev.ApprovalBecameReady(rules.config.may_approve))
    goes_on = market.voting_closed and rules.config.may_approve
    return (*landed, _plan_approval(market, now)) if goes_on else landed


def _undone(market: Market, settlement: Settlement, rules: Rules) -> tuple[ev.Event, ...]:
    """A confirmed attempt whose slot was dropped (ADR 0009): forget its pair, so that the next tick sends again."""
    intent, observed = settlement.intent, settlement.observed
    is_held = (market.confirmed_likes, market.confirmed_dislikes) == (intent.yes, intent.no)
    if intent.action is not Action.AGGREGATE_PROPOSAL or not is_held:
        return ()
    likes, dislikes = (observed.proposal_likes, observed.proposal_dislikes) if observed else (0, 0)
    if (likes, dislikes) == (intent.yes, intent.no):
        return ()  # somebody else has written the same pair since
    undone = ev.TalliesUndone(intent, likes, dislikes)
    if market.approval_ready and not approvable(evolve(market, undone), rules):
        return (undone, ev.ApprovalNoLongerReady())
    return (undone,)
