"""What happened to a market, in the past tense."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import TYPE_CHECKING

from domain.commands import CastVote, RecordChainVote
from domain.intents import Expectation, Intent
from domain.lifecycle import Lifecycle
from domain.observed import ObservedMarket
from domain.tally import Tally, VoteType

if TYPE_CHECKING:
    from domain.market import Market


@dataclass(frozen=True, slots=True)
class MarketAdopted:
    """The market is known from now on."""

    observed: ObservedMarket


@dataclass(frozen=True, slots=True)
class MarketDescribed:
    """Question and category were set."""

    question: str
    category: str


@dataclass(frozen=True, slots=True)
class MarketObserved:
    """The account was read at a newer slot and shows something new."""

    observed: ObservedMarket


@dataclass(frozen=True, slots=True)
class MarketReloaded:
    """Somebody else has written the market; `was_asleep`: what it was before is not known here."""

    stored: Market
    was_asleep: bool


@dataclass(frozen=True, slots=True)
class VoteAdmitted:
    """The market takes this vote; whether the wallet voted before is for the database to say (T2)."""

    vote: CastVote | RecordChainVote


@dataclass(frozen=True, slots=True)
class ChainVoteCameLate:
    """The market has moved past this vote: it is kept, but neither counted nor logged (decisions P2)."""

    vote: RecordChainVote


@dataclass(frozen=True, slots=True)
class VotesCounted:
    """Votes that the database took in one commit: their tally less that of the votes they supersede, and their leaves.

    `leaves` stand in the order of the log, which is that of the vote_ids.
    """

    vote_type: VoteType
    counted: Tally
    leaves: tuple[bytes, ...]
    on_chain_at_s: int = 0
    """When the last of those that the chain shows was cast, 0 without any."""


class Skip(enum.StrEnum):
    """Why nothing was sent."""

    STATE = "no votes are aggregated in this state"
    IN_FLIGHT = "attempt in flight"
    CONFIG_UNKNOWN = "GlobalConfig was not read yet"
    CLOCK_UNKNOWN = "the chain's clock was not read yet"
    WINDOW_OPEN = "the voting window is open"
    NOT_AUTHORITY = "backend key is not the authority"
    RETRY_NOT_DUE = "retry not due"
    CHAIN_AHEAD = "chain holds more votes"
    NO_VOTES = "no votes"
    UNCHANGED = "unchanged"
    HELD = "no votes, and the policy is hold"


@dataclass(frozen=True, slots=True)
class IntentPlanned:
    """A transaction will be sent for `tally`; `closes_voting` holds the tallies still until it has ended (P2)."""

    intent: Intent
    closes_voting: bool
    tally: Tally
    threshold_bps: int
    expects: Expectation | None = None
    """For the end of a dispute: what the program should make of it."""

    @property
    def is_synthetic(self) -> bool:
        """Whether a vote is sent that nobody cast (decisions P5)."""
        return self.intent.counts is VoteType.DISPUTE and self.tally.total == 0 and self.intent.pair != (0, 0)


@dataclass(frozen=True, slots=True)
class AggregationSkipped:
    """A tick or an operator found nothing to send; `aggregation_id` is new."""

    aggregation_id: str
    reason: Skip


@dataclass(frozen=True, slots=True)
class StuckNoticed:
    """Nothing has happened on chain for too long; `at_s` is the instant of its day (domain/stuck.py)."""

    at_s: int


@dataclass(frozen=True, slots=True)
class TalliesConfirmed:
    """The chain holds this pair."""

    intent: Intent
    likes: int
    dislikes: int


@dataclass(frozen=True, slots=True)
class TalliesUndone:
    """A confirmed pair is gone with the slot that held it; the chain holds this older one."""

    intent: Intent
    likes: int
    dislikes: int


@dataclass(frozen=True, slots=True)
class TalliesCorrected:
    """The chain holds this pair, not the one that was taken for confirmed: somebody else wrote, or we were wrong."""

    likes: int
    dislikes: int


@dataclass(frozen=True, slots=True)
class ApprovalBecameReady:
    """The confirmed pair passes `approve_proposal`; without our admin key a person must act."""

    will_be_sent: bool


@dataclass(frozen=True, slots=True)
class ApprovalNoLongerReady:
    """A newer pair fails the threshold."""


@dataclass(frozen=True, slots=True)
class ApprovalConfirmed:
    """`approve_proposal` landed; the state itself changes by observation."""

    intent: Intent


@dataclass(frozen=True, slots=True)
class TransitionConfirmed:
    """`activate_market` or `cancel_market` landed; the state itself changes by observation."""

    intent: Intent


@dataclass(frozen=True, slots=True)
class FinalizationConfirmed:
    """`finalize_market` or `aggregate_dispute_votes` landed; state and outcome change by observation."""

    intent: Intent


@dataclass(frozen=True, slots=True)
class FinalizationMismatched:
    """A disputed market is final with another outcome than its votes give (None: without one)."""

    expected: bool | None
    found: bool | None
    submitted: Expectation
    """What was sent; what the tally of now gives where somebody else ended it."""
    on_chain: tuple[int, int]
    """Agree and disagree as the account holds them."""


@dataclass(frozen=True, slots=True)
class StateUnexplained:
    """A newer read shows a state to which no instructions lead from the one before (CI 9): a dropped slot, or a bug."""

    before: Lifecycle
    after: Lifecycle


@dataclass(frozen=True, slots=True)
class AttemptFailed:
    """An attempt ended without effect and may be repeated from `next_attempt_at_s` (wall clock).

    `failures` are those in a row, this one included; both are 0 when the market has left the states it could act in.
    """

    intent: Intent
    reason: str
    failures: int
    next_attempt_at_s: int


@dataclass(frozen=True, slots=True)
class AttemptTooEarly:
    """The program's window is longer than the last GlobalConfig said; not a failure (T77, CI D8)."""

    intent: Intent
    next_attempt_at_s: int


Event = (
    MarketAdopted
    | MarketDescribed
    | MarketObserved
    | MarketReloaded
    | VoteAdmitted
    | ChainVoteCameLate
    | VotesCounted
    | IntentPlanned
    | AggregationSkipped
    | StuckNoticed
    | TalliesConfirmed
    | TalliesUndone
    | TalliesCorrected
    | ApprovalBecameReady
    | ApprovalNoLongerReady
    | ApprovalConfirmed
    | TransitionConfirmed
    | FinalizationConfirmed
    | FinalizationMismatched
    | StateUnexplained
    | AttemptFailed
    | AttemptTooEarly
)
