"""Transitions that an operator asks for: approve, activate, cancel, finalize.

Each plans the one instruction that makes it; the state changes when the chain shows it, never because it was asked for.
"""

from __future__ import annotations

from dataclasses import replace

from domain import events as ev
from domain.aggregation import next_plan, plan_approval
from domain.commands import MoveMarket
from domain.intents import ACTS_IN, ENDS, Action, Intent
from domain.lifecycle import Lifecycle
from domain.market import Market
from domain.refusals import AlreadyInState, IllegalTransition, KeyNeeded, Refusal, TransitionNotDue
from domain.rules import Now, Rules, ZeroVotes
from domain.tally import Tally

TARGET = {
    Action.APPROVE: Lifecycle.APPROVED,
    Action.ACTIVATE: Lifecycle.ACTIVE,
    Action.CANCEL: Lifecycle.CANCELLED,
    Action.FINALIZE: Lifecycle.FINALIZED,
}
"""Where each action that may be asked for leads."""


def move(market: Market, command: MoveMarket, rules: Rules, now: Now) -> tuple[ev.Event, ...] | Refusal:
    """Plan the transition, or the first reason not to.

    An attempt whose effect was seen before its end was taken in stands in nobody's way.
    Refusals in fixed order: the state, an attempt under way, GlobalConfig not read, the key, what the chain would
    refuse. AlreadyInState for a request whose attempt is the one under way.
    """
    action = command.action
    if market.state not in ACTS_IN[action]:
        return IllegalTransition(market.market_id, market.state, TARGET[action])
    if market.intent is not None and repeats(command, market.intent):
        return AlreadyInState(market.market_id)
    refusal = _blocked(market, action, rules)
    if refusal is not None:
        return refusal
    plan = _plan(market, action, rules, now)
    if not isinstance(plan, ev.IntentPlanned):
        return plan
    return (replace(plan, intent=replace(plan.intent, intent_id=command.intent_id)),)


def repeats(command: MoveMarket, planned: Intent) -> bool:
    """Whether the attempt is what an earlier call with the same request_id came to."""
    is_same = planned.action is command.action or {planned.action, command.action} <= ENDS
    return planned.intent_id == command.intent_id and is_same


def key_needed(market: Market, action: Action, rules: Rules) -> str | None:
    """Which key the action needs that this backend does not hold; None when it may sign. Needs GlobalConfig."""
    assert rules.config is not None
    if action is Action.FINALIZE:
        return None if rules.config.may_aggregate else f"backend authority {rules.config.backend_authority}"
    if rules.config.may_approve:
        return None
    admin = f"admin {rules.config.admin}"
    return f"{admin} or creator {market.creator}" if action is Action.ACTIVATE else admin


def _blocked(market: Market, action: Action, rules: Rules) -> Refusal | None:
    if market.intent is not None and market.state in ACTS_IN[market.intent.action]:
        return _not_due(market, action, f"an attempt at {market.intent.action} is under way")
    if rules.config is None:
        return _not_due(market, action, ev.Skip.CONFIG_UNKNOWN)
    key = key_needed(market, action, rules)
    return None if key is None else KeyNeeded(market.market_id, action.value, key)


def _plan(market: Market, action: Action, rules: Rules, now: Now) -> ev.IntentPlanned | Refusal:
    if action is Action.APPROVE:
        why = _unapprovable(market, rules)
        return plan_approval(market, now) if why is None else _not_due(market, action, why)
    if action is Action.FINALIZE:
        plan = _plan_end(market, rules, now)
        return plan if isinstance(plan, ev.IntentPlanned) else _not_due(market, action, plan.value)
    return ev.IntentPlanned(Intent(now.new_id(), market.market_id, action, market.failures + 1), False, Tally(), 0)


def _unapprovable(market: Market, rules: Rules) -> str | None:
    """What the program, or a vote on its way, stands against an approval; no quorum is asked for: a person decides."""
    assert rules.config is not None
    if market.unsubmitted:
        return "the chain does not hold the votes that were counted here; aggregate them first"
    if not market.confirmed.meets(rules.config.proposal_threshold_bps):
        return "the tallies on chain do not pass the threshold"
    return None


def _plan_end(market: Market, rules: Rules, now: Now) -> ev.IntentPlanned | ev.Skip:
    """As its deadline would, but for the retry's time, and for `hold`: who asks for the end upholds the proposal."""
    is_held = rules.zero_votes is ZeroVotes.HOLD
    by = replace(rules, zero_votes=ZeroVotes.UPHOLD) if is_held else rules
    return next_plan(replace(market, next_attempt_at_s=0), by, now)


def _not_due(market: Market, action: Action, why: str) -> TransitionNotDue:
    return TransitionNotDue(market.market_id, action.value, why)
