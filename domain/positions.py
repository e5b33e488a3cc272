"""What wallets hold and what they traded, as the indexer keeps it (CI 4.3, 7.1)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from domain.ids import MarketId, Wallet
from domain.observed import ObservedPosition


class Holding(NamedTuple):
    """Names one position."""

    market_id: MarketId
    wallet: Wallet


@dataclass(frozen=True, slots=True)
class Trade:
    """One SharesBought or SharesSold; `amount` is what the buyer paid with fees, or what the seller got, in lamports.

    Shares and amount may both be 0 (CI 10.6). Trades are never summed up to positions: those are read.
    """

    transaction_signature: str
    event_index: int
    holding: Holding
    is_buy: bool
    outcome: bool
    shares: int
    amount: int
    new_price_yes: int
    slot: int
    at_s: int


@dataclass(frozen=True, slots=True)
class TradesOf:
    """What the trades that are known of somebody come to; `wallet` is None for everybody who was not asked about."""

    wallet: Wallet | None
    count: int
    yes: int
    """Shares bought less shares sold."""
    no: int
    invested: int
    """What was paid for what was bought."""
    yes_before: int
    """Of `yes`, what came before a place on chain."""
    no_before: int
    unplaced_count: int
    """Trades in that place's slot of which nobody knows whether they came before."""


@dataclass(frozen=True, slots=True)
class StoredPosition:
    """One row of `positions`, as the account was at `slot`; all zero where the chain had no such account then.

    It is stale while `touched_slot`, that of the newest event about it, is above `slot`.
    """

    holding: Holding
    slot: int
    touched_slot: int
    shares_yes: int = 0
    shares_no: int = 0
    total_invested: int = 0
    trades_count: int = 0
    last_trade_at_s: int = 0
    has_claimed: bool = False
    claimed_amount: int = 0
    pda: Wallet | None = None
    """The market's address; None before the first read."""

    @property
    def observed(self) -> ObservedPosition:
        """The row as the read that it shows."""
        assert self.pda is not None, "no position was read yet"
        return ObservedPosition(
            market=self.pda,
            user=self.holding.wallet,
            slot=self.slot,
            shares_yes=self.shares_yes,
            shares_no=self.shares_no,
            total_invested=self.total_invested,
            trades_count=self.trades_count,
            last_trade_at_s=self.last_trade_at_s,
            has_claimed=self.has_claimed,
            claimed_amount=self.claimed_amount,
        )


@dataclass(frozen=True, slots=True)
class PositionRead:
    """What a read of a position at `slot` showed; all zero where there is no account. `pda` is the market's."""

    holding: Holding
    slot: int
    pda: Wallet
    shares_yes: int = 0
    shares_no: int = 0
    total_invested: int = 0
    trades_count: int = 0
    last_trade_at_s: int = 0
    has_claimed: bool = False
    claimed_amount: int = 0
