"""What is sent to the chain about a market, and what the end of an attempt means."""

from __future__ import annotations

from dataclasses import replace

from domain import events as ev
from domain.disputes import plan_end, window_ends_s
from domain.intents import ACTS_IN, ENDS, ON_REQUEST, Action, Intent, IntentStatus, Settlement
from domain.lifecycle import Lifecycle
from domain.market import Market, evolve
from domain.observations import observe
from domain.observed import ObservedMarket
from domain.refusals import AlreadyInState, Refusal
from domain.retries import retry_delay_s
from domain.rules import Now, Rules
from domain.tally import Tally

TOO_EARLY = "DisputePeriodNotEnded"
"""The program's word for a window that is longer than the last GlobalConfig said."""
TOO_EARLY_RETRY_S = 15
"""By then GlobalConfig was read three times."""
_LANDED = (IntentStatus.CONFIRMED, IntentStatus.FINALIZED)
_AGGREGATED = (Lifecycle.PROPOSED, Lifecycle.DISPUTED)
_LOOKS = (ev.Skip.STATE, ev.Skip.CONFIG_UNKNOWN, ev.Skip.CLOCK_UNKNOWN, ev.Skip.WINDOW_OPEN)
"""What a deadline may find that came early; it is set anew and nothing is noted."""


def fire(market: Market, rules: Rules, now: Now) -> tuple[ev.Event, ...] | Refusal:
    """A deadline: send what may be sent; a reason not to is noted once, until something is planned or moves."""
    plan = next_plan(market, rules, now)
    if isinstance(plan, ev.IntentPlanned):
        return (plan,)
    if market.state not in _AGGREGATED or plan in _LOOKS or plan.value == market.skip_reason:
        return AlreadyInState(market.market_id)
    return (ev.AggregationSkipped(now.new_id(), plan),)


def aggregate_now(market: Market, rules: Rules, now: Now) -> tuple[ev.Event, ...] | Refusal:
    """An operator asks: as a deadline that waits for no retry; a reason not to send is noted each time."""
    if market.intent is not None and market.intent.counts is not None:
        return AlreadyInState(market.market_id)
    plan = next_plan(replace(market, next_attempt_at_s=0), rules, now)
    return (plan,) if isinstance(plan, ev.IntentPlanned) else (ev.AggregationSkipped(now.new_id(), plan),)


def settle(market: Market, settlement: Settlement, rules: Rules, now: Now) -> tuple[ev.Event, ...] | Refusal:
    """The end of an attempt: what the account shows first, then what the attempt itself means."""
    is_current = market.intent is not None and market.intent.intent_id == settlement.intent.intent_id
    if not is_current and settlement.status in _LANDED:
        return AlreadyInState(market.market_id)
    observation = observe(market, settlement.observed, rules) if settlement.observed else ()
    seen = observation if isinstance(observation, tuple) else ()
    if not is_current:
        return seen + _undone(market, settlement, rules) or AlreadyInState(market.market_id)
    for event in seen:
        market = evolve(market, event)
    if settlement.status in _LANDED:
        return seen + _confirmed(market, settlement.intent, rules, now)
    return (*seen, _failed(market, settlement, now))


def approvable(market: Market, rules: Rules) -> bool:
    """Whether the confirmed tallies would pass `approve_proposal` and are votes that we know (P1, T20).

    Tallies that were on chain before this database knew the market are somebody else's, and approve nothing.
    """
    is_known = market.proposal.total >= market.confirmed.total
    return is_known and rules.config is not None and passes(market.confirmed, rules)


def passes(tally: Tally, rules: Rules) -> bool:
    """Whether a proposal with this tally is approved: quorum and live threshold."""
    assert rules.config is not None
    return tally.total >= rules.min_proposal_votes and tally.meets(rules.config.proposal_threshold_bps)


def next_plan(market: Market, rules: Rules, now: Now) -> ev.IntentPlanned | ev.Skip:
    """What to send now, or the first reason not to."""
    if market.state not in (Lifecycle.PROPOSED, Lifecycle.RESOLVING, Lifecycle.DISPUTED):
        return ev.Skip.STATE
    if market.intent is not None:
        return ev.Skip.IN_FLIGHT
    if rules.config is None:
        return ev.Skip.CONFIG_UNKNOWN
    ends_s = window_ends_s(market, rules.config)
    if ends_s is not None and not now.has_chain_time:
        return ev.Skip.CLOCK_UNKNOWN
    if ends_s is not None and now.chain_s < ends_s:
        return ev.Skip.WINDOW_OPEN
    if not rules.config.may_aggregate:
        return ev.Skip.NOT_AUTHORITY
    if now.wall_s < market.next_attempt_at_s:
        return ev.Skip.RETRY_NOT_DUE
    return _plan_proposal(market, rules, now) if ends_s is None else plan_end(market, rules, now)


def _plan_proposal(market: Market, rules: Rules, now: Now) -> ev.IntentPlanned | ev.Skip:
    """Changed tallies, or the approval that confirmed ones allow; never a pair below what the chain holds (H14)."""
    assert rules.config is not None
    if market.proposal.total < market.confirmed.total:
        return ev.Skip.CHAIN_AHEAD
    if market.unsubmitted:
        return _plan_tallies(market, rules, now)
    if approvable(market, rules) and rules.config.may_approve:
        return plan_approval(market, now)
    return ev.Skip.UNCHANGED if market.proposal.voters else ev.Skip.NO_VOTES


def _plan_tallies(market: Market, rules: Rules, now: Now) -> ev.IntentPlanned:
    assert rules.config is not None
    tally = market.proposal
    closes = rules.config.may_approve and passes(tally, rules)
    intent = Intent(now.new_id(), market.market_id, Action.AGGREGATE_PROPOSAL, market.failures + 1, tally.yes, tally.no)
    return ev.IntentPlanned(intent, closes, tally, rules.config.proposal_threshold_bps)


def plan_approval(market: Market, now: Now) -> ev.IntentPlanned:
    """The approval, with voting closed till it has ended (P2)."""
    intent = Intent(now.new_id(), market.market_id, Action.APPROVE, market.failures + 1)
    return ev.IntentPlanned(intent, True, market.proposal, 0)


def _failed(market: Market, settlement: Settlement, now: Now) -> ev.AttemptFailed | ev.AttemptTooEarly:
    """Without effect; `market` is as the attempt left it."""
    intent = settlement.intent
    if settlement.error_name == TOO_EARLY:
        return ev.AttemptTooEarly(intent, now.wall_s + TOO_EARLY_RETRY_S)
    reason = settlement.error_name or settlement.status.value
    if market.state not in ACTS_IN[intent.action]:
        return ev.AttemptFailed(intent, reason, 0, 0)
    if intent.action in ON_REQUEST:
        return ev.AttemptFailed(intent, reason, market.failures, market.next_attempt_at_s)
    failures = market.failures + 1
    return ev.AttemptFailed(intent, reason, failures, now.wall_s + retry_delay_s(failures, intent.intent_id))


def _confirmed(market: Market, intent: Intent, rules: Rules, now: Now) -> tuple[ev.Event, ...]:
    if intent.action is Action.APPROVE:
        return (ev.ApprovalConfirmed(intent),)
    if intent.action in ON_REQUEST:
        return (ev.TransitionConfirmed(intent),)
    if intent.action in ENDS:
        return (ev.FinalizationConfirmed(intent),)
    assert intent.pair is not None
    landed: tuple[ev.Event, ...] = (ev.TalliesConfirmed(intent, *intent.pair),)
    if market.state is not Lifecycle.PROPOSED:
        return landed
    if rules.config is None or not passes(Tally(*intent.pair), rules):
        return (*landed, ev.ApprovalNoLongerReady()) if market.approval_ready else landed
    if not market.approval_ready:
        landed = (*landed, ev.ApprovalBecameReady(rules.config.may_approve))
    goes_on = market.voting_closed and rules.config.may_approve
    return (*landed, plan_approval(market, now)) if goes_on else landed


def correct(market: Market, observed: ObservedMarket, rules: Rules) -> tuple[ev.Event, ...] | Refusal:
    """An account whose pair was found to differ from the confirmed one (P7): take it, so that the next tick sends ours.

    Not while an attempt is under way, which says what the chain holds when it ends; nor from an older read.
    """
    observation = observe(market, observed, rules)
    seen = observation if isinstance(observation, tuple) else ()
    pair = (observed.proposal_likes, observed.proposal_dislikes)
    if market.intent is not None or observed.slot < market.observed_slot or pair == _confirmed_pair(market):
        return seen or AlreadyInState(market.market_id)
    return seen + _rewritten(market, ev.TalliesCorrected(*pair), rules)


def _confirmed_pair(market: Market) -> tuple[int, int]:
    return market.confirmed_likes, market.confirmed_dislikes


def _undone(market: Market, settlement: Settlement, rules: Rules) -> tuple[ev.Event, ...]:
    """A confirmed attempt whose slot was dropped (ADR 0009): forget its pair, so that the next tick sends again."""
    intent, observed = settlement.intent, settlement.observed
    if intent.action is not Action.AGGREGATE_PROPOSAL or _confirmed_pair(market) != intent.pair:
        return ()
    likes, dislikes = (observed.proposal_likes, observed.proposal_dislikes) if observed else (0, 0)
    if (likes, dislikes) == intent.pair:
        return ()  # somebody else has written the same pair since
    return _rewritten(market, ev.TalliesUndone(intent, likes, dislikes), rules)


def _rewritten(market: Market, event: ev.TalliesCorrected | ev.TalliesUndone, rules: Rules) -> tuple[ev.Event, ...]:
    """The chain holds another pair than was confirmed, which may approve no longer."""
    if market.approval_ready and not approvable(evolve(market, event), rules):
        return (event, ev.ApprovalNoLongerReady())
    return (event,)
