"""What the backend means to do on chain; an intent never changes a market, only the chain's answer does (T16, H7)."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field

from domain.ids import MarketId
from domain.lifecycle import Lifecycle
from domain.observed import ObservedMarket
from domain.tally import Tally, VoteType


class Action(enum.StrEnum):
    """An instruction this backend may send about a market (CI 6)."""

    AGGREGATE_PROPOSAL = "aggregate_proposal_votes"
    APPROVE = "approve_proposal"
    ACTIVATE = "activate_market"
    """Sent when an operator asks for it, never by itself (CI D12); so is the next one."""
    CANCEL = "cancel_market"
    FINALIZE = "finalize_market"
    INVALIDATE = "aggregate_dispute_votes"
    """Sent by the `invalidate` policy alone: any other use of it ends a dispute wrongly (T15, CI Q2, Q5)."""


ACTS_IN: Mapping[Action, frozenset[Lifecycle]] = {
    Action.AGGREGATE_PROPOSAL: frozenset({Lifecycle.PROPOSED}),
    Action.APPROVE: frozenset({Lifecycle.PROPOSED}),
    Action.ACTIVATE: frozenset({Lifecycle.APPROVED}),
    Action.CANCEL: frozenset({Lifecycle.PROPOSED, Lifecycle.APPROVED}),
    Action.FINALIZE: frozenset({Lifecycle.RESOLVING, Lifecycle.DISPUTED}),
    Action.INVALIDATE: frozenset({Lifecycle.DISPUTED}),
}
"""In which states an action can have an effect (CI 6)."""
ENDS = frozenset({Action.FINALIZE, Action.INVALIDATE})
"""Actions that end a market; at most one attempt at any of them is open."""
ON_REQUEST = frozenset({Action.ACTIVATE, Action.CANCEL})
"""Actions that only a person asks for: when one fails, nothing is tried again."""


class IntentStatus(enum.StrEnum):
    """A transaction's way: PLANNED, SIGNED, SENT, then CONFIRMED and FINALIZED, or FAILED, or EXPIRED."""

    PLANNED = "planned"
    SIGNED = "signed"
    SENT = "sent"
    CONFIRMED = "confirmed"
    FINALIZED = "finalized"
    FAILED = "failed"
    EXPIRED = "expired"


OPEN_STATUSES = frozenset({IntentStatus.PLANNED, IntentStatus.SIGNED, IntentStatus.SENT})
"""Statuses in which an attempt may still land; one such attempt per market and action."""


@dataclass(frozen=True, slots=True)
class Intent:
    """One attempt at one action: `yes` and `no` are the u32 pair for an aggregation or the end of a dispute.

    An approval, an activation and a cancellation have 0 and 0, and the end of an undisputed market has None and None.
    """

    intent_id: str
    market_id: MarketId
    action: Action
    attempt: int
    yes: int | None = 0
    no: int | None = 0

    @property
    def pair(self) -> tuple[int, int] | None:
        """The pair that is sent, None without one."""
        return None if self.yes is None or self.no is None else (self.yes, self.no)

    @property
    def counts(self) -> VoteType | None:
        """Which votes this attempt counts; None for every action that carries none."""
        if self.action is Action.AGGREGATE_PROPOSAL:
            return VoteType.PROPOSAL
        return VoteType.DISPUTE if self.action in ENDS and self.pair is not None else None


@dataclass(frozen=True, slots=True)
class Expectation:
    """What the end of a dispute was planned with: the pair that was sent, and the threshold as it was then."""

    yes: int
    no: int
    threshold_bps: int

    def outcome(self, proposed: bool | None) -> bool | None:
        """The outcome that the program should make of it: None for two zeros, which invalidate the market."""
        if self.yes + self.no == 0 or proposed is None:
            return None
        return proposed is not Tally(self.yes, self.no).meets(self.threshold_bps)


@dataclass(frozen=True, slots=True)
class Settlement:
    """How an attempt ended, with the account as read afterwards (None when the read found no account)."""

    intent: Intent
    status: IntentStatus
    signature: str | None
    slot: int | None
    error_name: str | None
    observed: ObservedMarket | None


@dataclass(frozen=True, slots=True)
class StoredTransaction:
    """An intent with what is kept of its transaction; bytes, signature and height are None until it is signed."""

    intent: Intent
    status: IntentStatus
    raw: bytes | None
    signature: str | None
    last_valid_block_height: int | None
    age_s: int = field(default=0, compare=False)
    """Seconds since the plan, by the clock of whoever stores it."""
