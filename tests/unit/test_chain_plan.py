"""What to do next about a transaction, from facts alone."""

import pytest

from chain.plan import ChainFacts, Commitment, Sighting, Step, is_expired, moved_on, next_step
from domain.ids import MarketId
from domain.intents import Action, Intent, IntentStatus, StoredTransaction
from domain.lifecycle import Lifecycle
from tests.support.markets import observed

INTENT = Intent("i", MarketId("m"), Action.APPROVE, attempt=1)
LAST_VALID = 150


def stored(status: IntentStatus) -> StoredTransaction:
    signed = status is not IntentStatus.PLANNED
    return StoredTransaction(INTENT, status, b"raw" if signed else None, "sig" if signed else None, LAST_VALID)


def facts(
    height: int = 100, sighting: Sighting | None = None, finalized_slot: int = 100, seen_slot: int = 132
) -> ChainFacts:
    return ChainFacts(finalized_slot, height, seen_slot, sighting)


OPEN = [IntentStatus.SIGNED, IntentStatus.SENT]


def test_a_planned_intent_is_signed() -> None:
    assert next_step(stored(IntentStatus.PLANNED), None, is_send_due=True) is Step.SIGN


@pytest.mark.parametrize("status", OPEN)
def test_unseen_bytes_are_sent_when_due_and_waited_for_otherwise(status: IntentStatus) -> None:
    assert next_step(stored(status), facts(), is_send_due=True) is Step.SEND
    assert next_step(stored(status), facts(), is_send_due=False) is Step.WAIT


@pytest.mark.parametrize("status", OPEN)
@pytest.mark.parametrize("commitment", [Commitment.CONFIRMED, Commitment.FINALIZED])
def test_a_landed_transaction_ends_by_its_outcome(status: IntentStatus, commitment: Commitment) -> None:
    good, bad = Sighting(5, commitment, None), Sighting(5, commitment, "error")
    assert next_step(stored(status), facts(sighting=good), is_send_due=True) is Step.CONFIRM
    assert next_step(stored(status), facts(sighting=bad), is_send_due=True) is Step.FAIL


@pytest.mark.parametrize("err", [None, "error"])
def test_a_transaction_in_an_unconfirmed_slot_is_neither_ended_nor_sent_again(err: object) -> None:
    seen = facts(sighting=Sighting(5, Commitment.PROCESSED, err))
    assert next_step(stored(IntentStatus.SENT), seen, is_send_due=True) is Step.WAIT


@pytest.mark.parametrize(
    ("height", "seen_slot", "expired"),
    [(LAST_VALID, 132, False), (LAST_VALID + 1, 132, True), (LAST_VALID + 1, 100, True), (LAST_VALID + 1, 99, False)],
)
def test_expiry_needs_a_finalized_height_and_a_node_that_is_that_far(
    height: int, seen_slot: int, expired: bool
) -> None:
    seen = facts(height=height, seen_slot=seen_slot)
    assert is_expired(stored(IntentStatus.SENT), seen) is expired
    assert (next_step(stored(IntentStatus.SENT), seen, is_send_due=False) is Step.EXPIRE) is expired


def test_a_transaction_that_landed_in_its_last_block_is_not_expired() -> None:
    seen = facts(height=LAST_VALID + 50, sighting=Sighting(LAST_VALID, Commitment.FINALIZED, None))
    assert next_step(stored(IntentStatus.SENT), seen, is_send_due=True) is Step.CONFIRM


# --- after it was confirmed -------------------------------------------------------------------------------------------

CONFIRMED = IntentStatus.CONFIRMED


def test_a_final_transaction_is_done() -> None:
    seen = facts(sighting=Sighting(5, Commitment.FINALIZED, None))
    assert next_step(stored(CONFIRMED), seen, is_send_due=True) is Step.FINALIZE


@pytest.mark.parametrize("commitment", [Commitment.PROCESSED, Commitment.CONFIRMED])
@pytest.mark.parametrize("err", [None, "error"])
def test_a_confirmed_one_waits_for_its_slot_to_be_final(commitment: Commitment, err: object) -> None:
    seen = facts(sighting=Sighting(5, commitment, err))
    assert next_step(stored(CONFIRMED), seen, is_send_due=True) is Step.WAIT


def test_a_confirmed_one_that_vanished_is_sent_again_while_its_block_hash_lives() -> None:
    assert next_step(stored(CONFIRMED), facts(), is_send_due=True) is Step.SEND
    assert next_step(stored(CONFIRMED), facts(), is_send_due=False) is Step.WAIT
    assert next_step(stored(CONFIRMED), facts(height=LAST_VALID), is_send_due=False) is Step.WAIT


def test_a_confirmed_one_is_undone_by_proof_of_expiry_or_by_a_final_failure() -> None:
    assert next_step(stored(CONFIRMED), facts(height=LAST_VALID + 1), is_send_due=True) is Step.UNDO
    seen = facts(sighting=Sighting(5, Commitment.FINALIZED, "error"))
    assert next_step(stored(CONFIRMED), seen, is_send_due=True) is Step.UNDO


@pytest.mark.parametrize(
    ("action", "states"),
    [
        (Action.AGGREGATE_PROPOSAL, {Lifecycle.PROPOSED}),
        (Action.APPROVE, {Lifecycle.PROPOSED}),
        (Action.FINALIZE, {Lifecycle.RESOLVING, Lifecycle.DISPUTED}),
        (Action.INVALIDATE, {Lifecycle.DISPUTED}),
    ],
)
def test_a_retry_is_idle_once_its_market_has_left_the_states_it_needs(action: Action, states: set[Lifecycle]) -> None:
    assert {state for state in Lifecycle if not moved_on(action, observed(state=state))} == states
    assert not moved_on(action, None)
