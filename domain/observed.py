"""What was seen on chain, in plain values; the chain package makes these, the rules only read them."""

from __future__ import annotations

from dataclasses import dataclass

from domain.ids import MarketId, Wallet
from domain.lifecycle import Lifecycle


@dataclass(frozen=True, slots=True)
class ObservedMarket:
    """One read of a MarketAccount (CI 4.2).

    Lamports and 9-decimal shares are integers, times are Unix seconds with 0 for unset.
    `slot` is the context slot of the read; an older read never overwrites a newer one (T43).
    """

    market_id: MarketId
    pda: Wallet
    creator: Wallet
    state: Lifecycle
    slot: int
    b_parameter: int
    initial_liquidity: int
    current_liquidity: int
    shares_yes: int
    shares_no: int
    total_volume: int
    created_at_s: int
    approved_at_s: int
    activated_at_s: int
    resolution_proposed_at_s: int
    resolved_at_s: int
    finalized_at_s: int
    dispute_initiated_at_s: int
    cancelled_at_s: int
    proposed_outcome: bool | None
    final_outcome: bool | None
    proposal_likes: int
    proposal_dislikes: int
    dispute_agree: int
    dispute_disagree: int
    resolver: Wallet | None = None
    """Who proposed the outcome; a key of zeros before that, None in reads that were stored without it."""
    pool_lamports: int | None = None
    """What the account holds above its rent; None in reads that were made without it."""
    resolver_fees: int | None = None
    """Fees that the first claim on an outcome pays to the resolver out of the pool (CI 10.9)."""
    content_hash: str = ""
    """The question's IPFS hash, and the evidence's once an outcome is proposed: the program keeps both in one field."""
    was_disputed: bool | None = None
    """Once final, whether it was Disputed right before; None in reads that were stored without it (CI 4.2)."""


@dataclass(frozen=True, slots=True)
class ObservedPosition:
    """One read of a UserPosition (CI 4.3); `market` is the market's address, shares have 9 decimals, money is lamports.

    Claiming leaves the shares as they are; selling leaves `total_invested` as it is.
    """

    market: Wallet
    user: Wallet
    slot: int
    shares_yes: int
    shares_no: int
    total_invested: int
    trades_count: int
    last_trade_at_s: int
    has_claimed: bool
    claimed_amount: int


@dataclass(frozen=True, slots=True)
class ObservedVote:
    """One read of a VoteRecord (CI 4.4); `vote` is a like, or in a dispute that the proposed outcome is wrong."""

    market: Wallet
    user: Wallet
    slot: int
    is_dispute: bool
    vote: bool
    voted_at_s: int


@dataclass(frozen=True, slots=True)
class ChainConfig:
    """One read of GlobalConfig (CI 4.1), and which of our keys it names."""

    slot: int
    admin: Wallet
    backend_authority: Wallet
    proposal_threshold_bps: int
    dispute_threshold_bps: int
    dispute_period_s: int
    is_paused: bool
    may_aggregate: bool
    """Our backend key is `backend_authority`."""
    may_approve: bool
    """Our admin key, if one is configured, is `admin`."""


@dataclass(frozen=True, slots=True)
class ChainClock:
    """The Clock sysvar at confirmed commitment: Unix seconds and the slot it was read at (decisions P6)."""

    slot: int
    unix_s: int
