"""What happened to a market, in the past tense."""

from __future__ import annotations

from dataclasses import dataclass

from domain.commands import CastVote, RecordChainVote
from domain.intents import Intent
from domain.observed import ObservedMarket
from domain.tally import Tally, VoteType


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


@dataclass(frozen=True, slots=True)
class IntentPlanned:
    """A transaction will be sent; `closes_voting` holds the tallies still until the approval has ended (P2)."""

    intent: Intent
    closes_voting: bool
    percentage_bps: int
    threshold_bps: int


@dataclass(frozen=True, slots=True)
class AggregationSkipped:
    """A tick found nothing to send."""

    reason: str


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
class AttemptFailed:
    """An attempt ended without effect and may be repeated from `next_attempt_at_s` (wall clock)."""

    intent: Intent
    reason: str
    next_attempt_at_s: int


Event = (
    MarketAdopted
    | MarketDescribed
    | MarketObserved
    | VoteAdmitted
    | ChainVoteCameLate
    | VotesCounted
    | IntentPlanned
    | AggregationSkipped
    | TalliesConfirmed
    | TalliesUndone
    | ApprovalBecameReady
    | ApprovalNoLongerReady
    | ApprovalConfirmed
    | AttemptFailed
)
