"""Transitions that an operator asks for: given a market, when one is asked for, then one intent or one refusal."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from domain import events as ev
from domain.commands import MoveMarket, ObserveMarket, SettleIntent
from domain.deadlines import next_deadline
from domain.decisions import decide
from domain.disputes import MARGIN_S
from domain.intents import ACTS_IN, Action, Intent, IntentStatus, Settlement
from domain.lifecycle import EDGES, Lifecycle
from domain.market import Market, evolve
from domain.refusals import AlreadyInState, IllegalTransition, KeyNeeded, MarketNotFound, TransitionNotDue
from domain.rules import Rules, ZeroVotes
from domain.tally import Tally
from domain.transitions import TARGET
from tests.support.markets import ADMIN, BACKEND, CREATOR, NOON_S, market, market_id, now, observed, rules

PERIOD_S = 259_200
END_S = NOON_S + PERIOD_S + MARGIN_S
READY: dict[Action, dict[str, Any]] = {
    Action.APPROVE: {"state": Lifecycle.PROPOSED, "confirmed_likes": 7, "confirmed_dislikes": 3},
    Action.ACTIVATE: {"state": Lifecycle.APPROVED},
    Action.CANCEL: {"state": Lifecycle.APPROVED},
    Action.FINALIZE: {"state": Lifecycle.RESOLVING, "resolution_proposed_at_s": NOON_S, "proposed_outcome": True},
}
"""A market for which each action is due at END_S."""
ASKED = "11111111-1111-4111-8111-111111111111"


def ask(action: Action, intent_id: str = ASKED) -> MoveMarket:
    return MoveMarket(market_id(), intent_id, action)


def asked(given: Market, action: Action, by: Rules | None = None, chain_s: int = END_S) -> Any:
    return decide(given, ask(action), by or rules(), now(chain_s=chain_s))


def planned(given: Market, action: Action, by: Rules | None = None) -> ev.IntentPlanned:
    decision = asked(given, action, by)
    assert isinstance(decision, tuple), decision
    (plan,) = decision
    assert isinstance(plan, ev.IntentPlanned)
    return plan


@pytest.mark.parametrize("action", READY)
def test_a_legal_transition_is_one_intent_under_the_id_that_was_asked_for(action: Action) -> None:
    plan = planned(market(**READY[action]), action)
    assert (plan.intent.intent_id, plan.intent.action) == (ASKED, action)


@pytest.mark.parametrize("action", READY)
@pytest.mark.parametrize("state", Lifecycle)
def test_an_illegal_transition_is_refused_with_both_states_named(action: Action, state: Lifecycle) -> None:
    given = market(**{**READY[action], "state": state})
    decision = asked(given, action)
    is_refused = decision == IllegalTransition(market_id(), state, TARGET[action])
    assert is_refused is (state not in ACTS_IN[action])


def test_what_may_be_asked_for_are_edges_of_the_chains_own_table() -> None:
    edges = {(edge.before, edge.after, edge.instruction) for edge in EDGES}
    for action, target in TARGET.items():
        assert {(state, target, action.value) for state in ACTS_IN[action]} <= edges


def test_what_is_asked_for_changes_no_state_until_the_chain_shows_it() -> None:
    # given an approved market, when its activation is planned and has landed
    given = market(**READY[Action.ACTIVATE])
    plan = planned(given, Action.ACTIVATE)
    given = evolve(given, plan)
    assert given.state is Lifecycle.APPROVED
    landed = SettleIntent(market_id(), Settlement(plan.intent, IntentStatus.CONFIRMED, "sig", 20, None, None))
    events = decide(given, landed, rules(), now())
    assert events == (ev.TransitionConfirmed(plan.intent),)
    given = evolve(given, events[0])
    # then it is still APPROVED, until a read of the account shows otherwise
    assert (given.state, given.intent) == (Lifecycle.APPROVED, None)
    seen = decide(given, ObserveMarket(market_id(), observed(state=Lifecycle.ACTIVE, slot=21)), rules(), now())
    assert isinstance(seen, tuple)
    assert evolve(given, seen[0]).state is Lifecycle.ACTIVE


def test_a_market_that_nobody_knows_cannot_be_moved() -> None:
    assert decide(None, ask(Action.CANCEL), rules(), now()) == MarketNotFound(market_id())


@pytest.mark.parametrize(
    ("action", "key"),
    [
        (Action.APPROVE, f"admin {ADMIN}"),
        (Action.ACTIVATE, f"admin {ADMIN} or creator {CREATOR}"),
        (Action.CANCEL, f"admin {ADMIN}"),
        (Action.FINALIZE, f"backend authority {BACKEND}"),
    ],
)
def test_without_the_key_the_refusal_says_which_one_it_needs(action: Action, key: str) -> None:
    keyless = rules(may_approve=False, may_aggregate=False)
    assert asked(market(**READY[action]), action, keyless) == KeyNeeded(market_id(), action.value, key)


def test_nothing_is_sent_before_global_config_was_read() -> None:
    unread = replace(rules(), config=None)
    decision = asked(market(**READY[Action.CANCEL]), Action.CANCEL, unread)
    assert decision == TransitionNotDue(market_id(), "cancel_market", ev.Skip.CONFIG_UNKNOWN)


def test_a_second_request_while_the_first_is_under_way_is_refused_and_a_repeat_is_not() -> None:
    given = market(**READY[Action.ACTIVATE])
    given = evolve(given, planned(given, Action.ACTIVATE))
    assert asked(given, Action.ACTIVATE) == AlreadyInState(market_id())
    for second in (ask(Action.ACTIVATE, "another"), ask(Action.CANCEL)):
        refused = decide(given, second, rules(), now())
        assert isinstance(refused, TransitionNotDue)
        assert refused.why == "an attempt at activate_market is under way"


def test_an_attempt_whose_effect_was_seen_already_stands_in_nobodys_way() -> None:
    # given an approval that an event has shown before its settlement came
    approval = Intent("approval", market_id(), Action.APPROVE, 1)
    given = market(**READY[Action.ACTIVATE], intent=approval)
    # when the activation is asked for, and the settlement comes after it
    given = evolve(given, planned(given, Action.ACTIVATE))
    late = SettleIntent(market_id(), Settlement(approval, IntentStatus.CONFIRMED, "sig", 20, None, None))
    # then the activation stays under way
    assert decide(given, late, rules(), now()) == AlreadyInState(market_id())
    assert given.intent is not None and given.intent.action is Action.ACTIVATE


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"confirmed_likes": 6, "confirmed_dislikes": 4}, "the tallies on chain do not pass the threshold"),
        ({"confirmed_likes": 0, "confirmed_dislikes": 0}, "the tallies on chain do not pass the threshold"),
        (
            {"proposal": Tally(8, 3, 8, 3)},
            "the chain does not hold the votes that were counted here; aggregate them first",
        ),
    ],
)
def test_an_approval_that_the_program_would_refuse_or_that_forgets_votes_is_not_sent(
    changes: dict[str, Any], why: str
) -> None:
    given = market(**{**READY[Action.APPROVE], **changes})
    assert asked(given, Action.APPROVE) == TransitionNotDue(market_id(), "approve_proposal", why)


def test_an_approval_that_was_asked_for_needs_no_quorum_and_holds_the_votes_still() -> None:
    given = market(state=Lifecycle.PROPOSED, confirmed_likes=1, proposal=Tally(1, 0, 1, 0))
    plan = planned(given, Action.APPROVE)
    assert evolve(given, plan).voting_closed


@pytest.mark.parametrize("state", [Lifecycle.RESOLVING, Lifecycle.DISPUTED])
def test_nothing_is_finalized_before_its_window_has_ended_in_chain_time(state: Lifecycle) -> None:
    given = market(
        state=state,
        proposed_outcome=True,
        resolution_proposed_at_s=NOON_S,
        dispute_initiated_at_s=NOON_S,
        dispute=Tally(6, 4, 2, 1),
    )
    early = asked(given, Action.FINALIZE, chain_s=END_S - 1)
    assert early == TransitionNotDue(market_id(), "finalize_market", ev.Skip.WINDOW_OPEN)
    assert planned(given, Action.FINALIZE).intent.action is Action.FINALIZE


def test_an_operator_who_asks_waits_for_no_retry() -> None:
    given = market(**READY[Action.FINALIZE], failures=3, next_attempt_at_s=NOON_S + 3_600)
    assert planned(given, Action.FINALIZE).intent.attempt == 4


def test_a_held_dispute_is_upheld_by_the_operator_who_ends_it() -> None:
    held = replace(rules(), zero_votes=ZeroVotes.HOLD)
    given = market(state=Lifecycle.DISPUTED, proposed_outcome=True, dispute_initiated_at_s=NOON_S)
    plan = planned(given, Action.FINALIZE, held)
    assert (plan.intent.pair, plan.is_synthetic) == ((0, 1), True)


@pytest.mark.parametrize("action", [Action.ACTIVATE, Action.CANCEL])
def test_a_failed_request_is_not_tried_again_and_delays_nothing(action: Action) -> None:
    # given tallies that wait for a retry, and a request on the same market
    given = market(state=min(ACTS_IN[action]), failures=2, next_attempt_at_s=NOON_S + 700)
    before = next_deadline(given, rules(), now())
    intent = Intent(ASKED, market_id(), action, 1)
    failed = SettleIntent(market_id(), Settlement(intent, IntentStatus.FAILED, None, None, "Unauthorized", None))
    # when the request fails
    events = decide(replace(given, intent=intent), failed, rules(), now())
    assert isinstance(events, tuple)
    after = evolve(replace(given, intent=intent), events[0])
    # then everything else stands as it stood
    assert (after.intent, after.failures, after.next_attempt_at_s) == (None, 2, NOON_S + 700)
    assert next_deadline(after, rules(), now()) == before
