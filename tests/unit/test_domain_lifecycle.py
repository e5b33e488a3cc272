"""The state machine that the chain enforces (CI 9)."""

import pytest

from domain.lifecycle import EDGES, TERMINAL, Lifecycle, Signer, reachable, successors

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
