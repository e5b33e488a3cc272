"""The state machine that the chain enforces (CI 9)."""

import pytest

from domain import events as ev
from domain.commands import MoveMarket, ObserveMarket
from domain.decisions import decide
from domain.disputes import MARGIN_S
from domain.intents import Action
from domain.lifecycle import EDGES, TERMINAL, Lifecycle, Signer, reachable, successors
from domain.market import evolve
from domain.refusals import IllegalTransition
from domain.transitions import TARGET
from tests.support.markets import NOON_S, market, market_id, now, observed, rules

P, A, V, R, D, F, C = Lifecycle


def test_bytes_are_those_of_the_account() -> None:
    assert [(state.name, state.value) for state in Lifecycle] == [
        ("PROPOSED", 0),
        ("APPROVED", 1),
        ("ACTIVE", 2),
        ("RESOLVING", 3),
        ("DISPUTED", 4),
        ("FINALIZED", 5),
        ("CANCELLED", 6),
    ]


@pytest.mark.parametrize(
    ("before", "after"), [(P, {A, C}), (A, {V, C}), (V, {R}), (R, {D, F}), (D, {F, R}), (F, set()), (C, set())]
)
def test_each_state_leads_where_the_program_lets_it(before: Lifecycle, after: set[Lifecycle]) -> None:
    assert successors(before) == after


def test_nothing_leaves_a_terminal_state() -> None:
    assert {state for state in Lifecycle if not successors(state)} == TERMINAL


def test_only_finalizing_and_dispute_aggregation_are_the_backend_key() -> None:
    assert {edge.instruction for edge in EDGES if edge.signer is Signer.BACKEND} == {
        "finalize_market",
        "aggregate_dispute_votes",
    }


@pytest.mark.parametrize(
    ("before", "after", "possible"),
    [(P, F, True), (P, P, False), (R, R, True), (D, D, True), (F, R, False), (C, A, False), (V, C, False)],
)
def test_an_observer_may_miss_states_but_never_sees_time_run_back(
    before: Lifecycle, after: Lifecycle, possible: bool
) -> None:
    assert reachable(before, after) is possible


# --- observed: what a read of the account shows, in the order of CI 9 -------------------------------------------------

ENFORCED = {P: {A, C}, A: {V, C}, V: {R}, R: {D, F}, D: {F, R}, F: set(), C: set()}
"""CI 9, written out once more."""
LATER = {P: {A, C, V, R, D, F}, A: {C, V, R, D, F}, V: {R, D, F}, R: {D, F}, D: {R, F}, F: set(), C: set()}
"""What may have become of a market that nobody looked at in between."""


@pytest.mark.parametrize("after", Lifecycle)
@pytest.mark.parametrize("before", Lifecycle)
def test_every_observed_transition_is_taken_in_and_one_that_no_instruction_makes_is_named_with_both_states(
    before: Lifecycle, after: Lifecycle
) -> None:
    # given a market in one state, when a newer read of its account shows another
    given = market(state=before)
    seen = decide(given, ObserveMarket(market_id(), observed(state=after, slot=99)), rules(), now())
    if before is after:
        assert not isinstance(seen, tuple), "a read that shows nothing new is no event"
        return
    assert isinstance(seen, tuple)
    # then the chain is followed, and told of where nothing in CI 9 leads there
    for event in seen:
        given = evolve(given, event)
    named = [event for event in seen if isinstance(event, ev.StateUnexplained)]
    assert given.state is after
    assert named == ([] if after in LATER[before] else [ev.StateUnexplained(before, after)])
    assert LATER[before] >= ENFORCED[before]


# --- initiated: what this backend may send, and nothing else ----------------------------------------------------------

MAY_SEND = {
    (P, A): Action.APPROVE,
    (A, V): Action.ACTIVATE,
    (P, C): Action.CANCEL,
    (A, C): Action.CANCEL,
    (R, F): Action.FINALIZE,
    (D, F): Action.FINALIZE,
}
"""Which action leads from one state to another; nobody here proposes, resolves or disputes (CI D13)."""


@pytest.mark.parametrize("action", TARGET)
@pytest.mark.parametrize("before", Lifecycle)
def test_only_these_transitions_are_initiated_and_every_other_is_refused_with_both_states_named(
    before: Lifecycle, action: Action
) -> None:
    # given a market whose votes and windows allow everything
    given = market(
        state=before,
        confirmed_likes=7,
        confirmed_dislikes=3,
        proposed_outcome=True,
        resolution_proposed_at_s=NOON_S,
        dispute_initiated_at_s=NOON_S,
    )
    # when an operator asks for a transition
    due = now(chain_s=NOON_S + 259_200 + MARGIN_S)
    decision = decide(given, MoveMarket(market_id(), "11111111-1111-4111-8111-111111111111", action), rules(), due)
    # then it is one intent where CI 9 has that edge for one of our keys
    if MAY_SEND.get((before, TARGET[action])) is action:
        assert isinstance(decision, tuple)
        (planned,) = decision
        assert isinstance(planned, ev.IntentPlanned)
        assert planned.intent.action is action
    else:
        assert decision == IllegalTransition(market_id(), before, TARGET[action])


def test_no_action_exists_for_what_only_people_and_votes_bring_about() -> None:
    ours = {action.value for action in Action}
    sent = {edge.instruction for edge in EDGES if (edge.before, edge.after) in MAY_SEND}
    assert sent <= ours
    assert ours.isdisjoint({"resolve_market", "initiate_dispute", "create_market"})
