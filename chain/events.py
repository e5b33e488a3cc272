"""The 18 events of zmart_core as values (CI 7): one class each, fields in wire order, `at_s` always the chain's clock.

`WinningsClaimed` has two layouts under one discriminator, so it has two classes. `market_id` is the market's own id;
where an event names the market's address instead, the field is `market`. Bytes become these in `decoder.py`.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import ClassVar

from domain.ids import MarketId, Wallet


@dataclass(frozen=True, slots=True)
class ChainEvent:
    """What every event has: the name that the program gives it."""

    NAME: ClassVar[str] = ""


@dataclass(frozen=True, slots=True)
class GlobalConfigInitialized(ChainEvent):
    """The protocol has its settings."""

    NAME: ClassVar[str] = "GlobalConfigInitialized"
    admin: Wallet
    backend_authority: Wallet
    protocol_fee_bps: int
    at_s: int


@dataclass(frozen=True, slots=True)
class ConfigUpdated(ChainEvent):
    """The settings that hold from now on, for open markets too (Q8)."""

    NAME: ClassVar[str] = "ConfigUpdated"
    protocol_fee_bps: int
    resolver_reward_bps: int
    liquidity_provider_fee_bps: int
    proposal_approval_threshold: int
    dispute_success_threshold: int
    min_resolution_delay: int
    dispute_period: int
    at_s: int


@dataclass(frozen=True, slots=True)
class ProtocolPauseStatusChanged(ChainEvent):
    """Creating and trading were paused or released (Q14)."""

    NAME: ClassVar[str] = "ProtocolPauseStatusChanged"
    is_paused: bool
    paused_by: Wallet
    at_s: int


@dataclass(frozen=True, slots=True)
class MarketCreated(ChainEvent):
    """A market in Proposed; its address, liquidity, shares and question are in the account only."""

    NAME: ClassVar[str] = "MarketCreated"
    market_id: MarketId
    creator: Wallet
    b_parameter: int
    state: int
    at_s: int


@dataclass(frozen=True, slots=True)
class ProposalVoteSubmitted(ChainEvent):
    """One wallet voted on a proposal; no tally moved."""

    NAME: ClassVar[str] = "ProposalVoteSubmitted"
    market_id: MarketId
    user: Wallet
    vote: bool
    at_s: int


@dataclass(frozen=True, slots=True)
class ProposalAggregated(ChainEvent):
    """Tallies were written; `approved` says that they suffice, the market stays Proposed (Q1)."""

    NAME: ClassVar[str] = "ProposalAggregated"
    market_id: MarketId
    likes: int
    dislikes: int
    approval_percentage: int
    approved: bool
    at_s: int


@dataclass(frozen=True, slots=True)
class ProposalApproved(ChainEvent):
    """The market is Approved."""

    NAME: ClassVar[str] = "ProposalApproved"
    market_id: MarketId
    approved_by: Wallet
    at_s: int


@dataclass(frozen=True, slots=True)
class MarketCancelled(ChainEvent):
    """The market is Cancelled."""

    NAME: ClassVar[str] = "MarketCancelled"
    market_id: MarketId
    cancelled_by: Wallet
    at_s: int


@dataclass(frozen=True, slots=True)
class MarketActivated(ChainEvent):
    """The market is Active."""

    NAME: ClassVar[str] = "MarketActivated"
    market_id: MarketId
    creator: Wallet
    initial_liquidity: int
    at_s: int


@dataclass(frozen=True, slots=True)
class SharesBought(ChainEvent):
    """A purchase; `cost` includes fees, and both it and `shares` may be 0 (CI 10.6)."""

    NAME: ClassVar[str] = "SharesBought"
    market_id: MarketId
    user: Wallet
    outcome: bool
    shares: int
    cost: int
    new_price_yes: int
    at_s: int


@dataclass(frozen=True, slots=True)
class SharesSold(ChainEvent):
    """A sale; `proceeds` are what the seller got."""

    NAME: ClassVar[str] = "SharesSold"
    market_id: MarketId
    user: Wallet
    outcome: bool
    shares: int
    proceeds: int
    new_price_yes: int
    at_s: int


@dataclass(frozen=True, slots=True)
class MarketResolved(ChainEvent):
    """Somebody proposed an outcome; the market is Resolving."""

    NAME: ClassVar[str] = "MarketResolved"
    market_id: MarketId
    resolver: Wallet
    outcome: bool
    evidence_hash: bytes
    at_s: int


@dataclass(frozen=True, slots=True)
class DisputeInitiated(ChainEvent):
    """The proposed outcome is disputed."""

    NAME: ClassVar[str] = "DisputeInitiated"
    market_id: MarketId
    initiator: Wallet
    disputed_outcome: bool | None
    at_s: int


@dataclass(frozen=True, slots=True)
class DisputeVoteSubmitted(ChainEvent):
    """One wallet voted on a dispute; True means that the proposed outcome is wrong."""

    NAME: ClassVar[str] = "DisputeVoteSubmitted"
    market_id: MarketId
    user: Wallet
    vote: bool
    at_s: int


@dataclass(frozen=True, slots=True)
class DisputeAggregated(ChainEvent):
    """Tallies ended a dispute: back to Resolving if it succeeded, Finalized without outcome if not (Q2, Q5)."""

    NAME: ClassVar[str] = "DisputeAggregated"
    market_id: MarketId
    agrees: int
    disagrees: int
    agreement_percentage: int
    dispute_succeeded: bool
    at_s: int


@dataclass(frozen=True, slots=True)
class MarketFinalized(ChainEvent):
    """The market has its outcome; None is INVALID."""

    NAME: ClassVar[str] = "MarketFinalized"
    market_id: MarketId
    final_outcome: bool | None
    was_disputed: bool
    at_s: int


@dataclass(frozen=True, slots=True)
class WinningsClaimed(ChainEvent):
    """A payout in the newer layout (89 or 90 bytes); `market` is the market's address."""

    NAME: ClassVar[str] = "WinningsClaimed"
    market: Wallet
    user: Wallet
    outcome: bool | None
    amount: int
    at_s: int


@dataclass(frozen=True, slots=True)
class OldWinningsClaimed(ChainEvent):
    """A payout in the older build's layout (96 bytes)."""

    NAME: ClassVar[str] = "WinningsClaimed"
    market_id: MarketId
    user: Wallet
    amount: int
    resolver_fee: int
    at_s: int


@dataclass(frozen=True, slots=True)
class LiquidityWithdrawn(ChainEvent):
    """The creator took what the market held (Q13)."""

    NAME: ClassVar[str] = "LiquidityWithdrawn"
    market_id: MarketId
    creator: Wallet
    amount: int
    at_s: int


class EventFault(StrEnum):
    """Why bytes in an event line are no event of ours."""

    UNKNOWN_DISCRIMINATOR = "unknown discriminator"
    WRONG_LENGTH = "wrong length"
    MALFORMED = "malformed"


@dataclass(frozen=True, slots=True)
class UndecodableEvent:
    """An accepted event line that cannot be read: data to store and to report, never an exception (CI 7.2, 5)."""

    fault: EventFault
    name: str | None
    """The event's name where the discriminator is known."""
    raw: bytes
