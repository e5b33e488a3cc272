"""The breaker of state transitions: three outages open it for five minutes, then one probe decides."""

from __future__ import annotations

import pytest

from chain.rpc import ChainUnavailable, RpcRefused
from chain.transition_gate import FAILURES_MAX, OPEN_S, SPACING_S, TARGETS, TransitionGate
from domain.intents import Action, Intent, IntentStatus, StoredTransaction
from domain.journal import AlertNote
from tests.support.markets import market_id


class Clock:
    now_s = 1_000.0

    def __call__(self) -> float:
        return self.now_s


class Bug(Exception):
    """Not an outage."""


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def gate(clock: Clock) -> TransitionGate:
    return TransitionGate(clock)


def row(
    action: Action = Action.FINALIZE, status: IntentStatus = IntentStatus.PLANNED, number: int = 1
) -> StoredTransaction:
    return StoredTransaction(Intent(f"i{number}", market_id(number), action, 1), status, None, None, None)


def outage() -> RpcRefused:
    return RpcRefused("getLatestBlockhash", "node is behind")


def tried(gate: TransitionGate, *rows: StoredTransaction, failure: Exception | None = None) -> None:
    """One round over what the gate admits."""
    admitted = gate.admitted(rows)
    try:
        with gate.watch(admitted):
            if failure is not None:
                raise failure
    except (ChainUnavailable, RpcRefused, Bug):
        pass


def failed(gate: TransitionGate, clock: Clock, times: int) -> None:
    """Failures that are far enough apart to count; the last one is now."""
    for _ in range(times):
        clock.now_s += SPACING_S
        tried(gate, row(), failure=outage())


def opened(gate: TransitionGate, clock: Clock) -> None:
    failed(gate, clock, FAILURES_MAX)
    assert gate.is_open


async def told(gate: TransitionGate) -> list[AlertNote]:
    notes: list[AlertNote] = []

    async def raise_alert(note: AlertNote) -> None:
        notes.append(note)

    await gate.tell(raise_alert)
    return notes


async def test_three_failures_open_it_and_call_for_a_review(gate: TransitionGate, clock: Clock) -> None:
    # given two failures, when a third follows
    failed(gate, clock, FAILURES_MAX - 1)
    assert not gate.is_open
    assert await told(gate) == []
    failed(gate, clock, 1)
    # then it is open, and people hear of market, target and error, once
    assert gate.is_open
    (note,) = await told(gate)
    assert (note.alert_type, note.severity, note.market_id) == ("state_transition_failure", "CRITICAL", market_id())
    assert note.data["target"] == "FINALIZED"
    assert note.data["error"] == str(outage())
    assert note.data["action"] == "manual_review_required"
    assert await told(gate) == []


def test_rounds_that_fail_within_half_a_minute_are_one_failure(gate: TransitionGate, clock: Clock) -> None:
    # given an outage of half a minute, in which the sender tries the same row twice a second
    for _ in range(60):
        tried(gate, row(), failure=outage())
        clock.now_s += SPACING_S / 60
    assert not gate.is_open
    # when it lasts for a minute and more, then three failures have been counted
    failed(gate, clock, FAILURES_MAX - 2)
    assert not gate.is_open
    failed(gate, clock, 1)
    assert gate.is_open


def test_while_it_is_open_transitions_wait_and_everything_else_goes_on(gate: TransitionGate, clock: Clock) -> None:
    opened(gate, clock)
    clock.now_s += OPEN_S - 1
    others = [row(status=IntentStatus.SENT), row(Action.AGGREGATE_PROPOSAL), row(status=IntentStatus.CONFIRMED)]
    assert gate.admitted([row(), *others, row(Action.APPROVE)]) == others


def test_after_five_minutes_one_probe_goes_out_and_its_success_closes_it(gate: TransitionGate, clock: Clock) -> None:
    opened(gate, clock)
    clock.now_s += OPEN_S
    waiting = [row(number=1), row(number=2), row(number=3)]
    assert gate.admitted(waiting) == waiting[:1]
    tried(gate, *waiting)
    assert not gate.is_open
    assert gate.admitted(waiting) == waiting


async def test_a_probe_that_fails_opens_it_for_another_five_minutes(gate: TransitionGate, clock: Clock) -> None:
    opened(gate, clock)
    await told(gate)
    clock.now_s += OPEN_S
    tried(gate, row(), failure=outage())
    assert gate.admitted([row()]) == []
    assert len(await told(gate)) == 1
    clock.now_s += OPEN_S
    assert gate.admitted([row()]) == [row()]


def test_a_success_in_between_forgets_the_failures(gate: TransitionGate, clock: Clock) -> None:
    for failure in (outage(), outage(), None, outage(), outage()):
        clock.now_s += SPACING_S
        tried(gate, row(), failure=failure)
    assert not gate.is_open


def test_rounds_without_a_transition_and_bugs_open_nothing(gate: TransitionGate, clock: Clock) -> None:
    for _ in range(2 * FAILURES_MAX):
        clock.now_s += SPACING_S
        tried(gate, row(Action.AGGREGATE_PROPOSAL), row(status=IntentStatus.SENT), failure=outage())
        tried(gate, row(), failure=Bug())
    assert not gate.is_open


def test_every_action_but_tallies_has_a_target() -> None:
    assert set(TARGETS) == set(Action) - {Action.AGGREGATE_PROPOSAL}
