"""What somebody wants of a market; plain values that travel between processes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from domain.ids import MarketId, Wallet
from domain.intents import Action, Settlement
from domain.observed import ObservedMarket
from domain.tally import VoteType

if TYPE_CHECKING:
    from domain.market import Market


@dataclass(frozen=True, slots=True)
class CastVote:
    """One wallet's vote; `vote_id` is new for each call, `request_id` is the caller's key for repeats.

    `weight` is 1 on a proposal and the wallet's shares on a dispute, read at `weight_slot` (T8). `wallet_signature` is
    base58 of the wallet's own signature over the vote, verified before it comes here.
    """

    market_id: MarketId
    vote_id: str
    wallet: Wallet
    vote_type: VoteType
    choice: bool
    weight: int
    request_id: str | None
    weight_slot: int | None = None
    wallet_signature: str | None = None


@dataclass(frozen=True, slots=True)
class RecordChainVote:
    """A wallet's vote as a transaction on chain shows it; it wins over a vote through the API (decisions P4).

    `vote_id` is the same for every sight of the vote, so repeating is harmless. `weight` may be 0 on a dispute: the
    program asks for no position (CI D17).
    """

    market_id: MarketId
    vote_id: str
    wallet: Wallet
    vote_type: VoteType
    choice: bool
    weight: int
    weight_slot: int | None
    transaction_signature: str
    slot: int
    voted_at_s: int


@dataclass(frozen=True, slots=True)
class AdoptMarket:
    """A market enters by what its account shows (decisions P3); repeating it is an observation."""

    market_id: MarketId
    observed: ObservedMarket


@dataclass(frozen=True, slots=True)
class DescribeMarket:
    """Off-chain question and category, by the creator's wallet or the admin tier only (decisions P3)."""

    market_id: MarketId
    by: Wallet | None
    by_admin: bool
    question: str
    category: str


@dataclass(frozen=True, slots=True)
class ObserveMarket:
    """The account was read again; `corrects_tallies`: the pair that it shows is to be taken for the confirmed one."""

    market_id: MarketId
    observed: ObservedMarket
    corrects_tallies: bool = False
    is_repair: bool = False
    """Whoever sends it has compared and tells of every difference, so nothing is told of it a second time."""


@dataclass(frozen=True, slots=True)
class FireDeadline:
    """The market's next deadline has come; firing it twice is harmless."""

    market_id: MarketId


@dataclass(frozen=True, slots=True)
class AggregateNow:
    """Send what may be sent without waiting for the grid or for a retry; every other guard holds."""

    market_id: MarketId


@dataclass(frozen=True, slots=True)
class MoveMarket:
    """An operator asks for a transition: APPROVE, ACTIVATE, CANCEL or FINALIZE, now and without waiting for a retry.

    `intent_id` is the same for each repeat of one request, so that a repeat finds what the first one planned.
    """

    market_id: MarketId
    intent_id: str
    action: Action
    request_id: str | None = None


@dataclass(frozen=True, slots=True)
class SettleIntent:
    """An attempt on chain has ended."""

    market_id: MarketId
    settlement: Settlement


@dataclass(frozen=True, slots=True)
class Reload:
    """Somebody wrote past the actor: the market is what is stored now (decisions F5).

    `was_asleep`: what it looked like before is not known here, so the world is told all of it.
    """

    market_id: MarketId
    stored: Market
    was_asleep: bool


Command = (
    CastVote
    | RecordChainVote
    | AdoptMarket
    | DescribeMarket
    | ObserveMarket
    | FireDeadline
    | AggregateNow
    | MoveMarket
    | SettleIntent
    | Reload
)
