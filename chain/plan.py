"""What to do next about one transaction, decided from facts alone: no network, no clock, no storage.

The rule that matters: new bytes are never signed while old ones might land. Expired means that a *finalized* block
height is past the last valid one and the signature is still unknown, looked up in the history after that height (C4).
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Any

from domain.intents import ACTS_IN, Action, IntentStatus, StoredTransaction
from domain.observed import ObservedMarket


class Commitment(enum.IntEnum):
    """How settled a landed transaction is."""

    PROCESSED = 0
    CONFIRMED = 1
    FINALIZED = 2


@dataclass(frozen=True, slots=True)
class Sighting:
    """Where a signature was seen: `err` is None when it succeeded."""

    slot: int
    commitment: Commitment
    err: Any


@dataclass(frozen=True, slots=True)
class ChainFacts:
    """One look at the chain: the finalized tip first, then the signature, so that absence proves something."""

    finalized_slot: int
    finalized_height: int
    seen_slot: int
    """The slot of the node that looked for the signature."""
    sighting: Sighting | None


class Step(enum.Enum):
    """What to do now."""

    SIGN = "sign"
    SEND = "send"
    WAIT = "wait"
    CONFIRM = "confirm"
    FAIL = "fail"
    EXPIRE = "expire"
    FINALIZE = "finalize"
    UNDO = "undo"


def next_step(stored: StoredTransaction, facts: ChainFacts | None, is_send_due: bool) -> Step:
    """The next step; `facts` may be None only before anything was signed."""
    if stored.status is IntentStatus.PLANNED:
        return Step.SIGN
    assert facts is not None
    if stored.status is IntentStatus.CONFIRMED:
        return _followed(stored, facts, is_send_due)
    if facts.sighting is not None:
        return _landed(facts.sighting)
    if is_expired(stored, facts):
        return Step.EXPIRE
    return Step.SEND if is_send_due else Step.WAIT


def moved_on(action: Action, observed: ObservedMarket | None) -> bool:
    """Whether the market has left every state in which `action` can do anything, so that a retry is idle."""
    return observed is not None and observed.state not in ACTS_IN[action]


def is_expired(stored: StoredTransaction, facts: ChainFacts) -> bool:
    """Whether it is proven that the signed bytes never landed and never can."""
    assert stored.last_valid_block_height is not None
    is_past = facts.finalized_height > stored.last_valid_block_height
    return is_past and facts.sighting is None and facts.seen_slot >= facts.finalized_slot


def _followed(stored: StoredTransaction, facts: ChainFacts, is_send_due: bool) -> Step:
    """A confirmed slot can still be dropped: the same bytes may land again while their block hash lives."""
    sighting = facts.sighting
    if sighting is None:
        if is_expired(stored, facts):
            return Step.UNDO
        return Step.SEND if is_send_due else Step.WAIT
    if sighting.commitment is not Commitment.FINALIZED:
        return Step.WAIT
    return Step.FINALIZE if sighting.err is None else Step.UNDO


def _landed(sighting: Sighting) -> Step:
    if sighting.commitment is Commitment.PROCESSED:
        return Step.WAIT
    return Step.CONFIRM if sighting.err is None else Step.FAIL
