"""What the calls of a transaction logged, where its log was cut off: exact, or not at all (CI 7.2, 3; C3). Pure.

An event is made of its call's arguments and accounts, the block's time, and what accounts show that nothing can have
changed since. Whatever would need more than that stays unsaid: a call is then kept raw, with what is missing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from chain import events
from chain.calls import Call
from chain.errors import Build
from chain.events import ChainEvent
from domain.ids import MarketId, Wallet
from domain.observed import ObservedMarket, ObservedPosition
from indexer.cut_trades import TradeFound
from indexer.frames import Frames

BPS = 10_000
FIRST_FEE_BPS = 300
"""What `initialize_global_config` always writes (CI 4.1)."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """What there is beside the call; accounts were read after the transaction, by address and by (market, user)."""

    at_s: int
    frames: Frames
    markets: Mapping[str, ObservedMarket]
    positions: Mapping[tuple[str, str], ObservedPosition]
    trades: Mapping[int, TradeFound]
    """By the ordinal of the call."""
    build: Build = "new"
    """Of the program, because the older one logs a claim in another layout (CI 7)."""


def derived(call: Call, ordinal: int, seen: Evidence) -> ChainEvent | None:
    """The event that a call has logged, None where that cannot be said exactly."""
    if call.name == "create_market":
        market_id, b_parameter = MarketId(call.args[0]), call.args[1]
        return events.MarketCreated(market_id, Wallet(call.accounts["creator"]), b_parameter, 0, seen.at_s)
    if "market" not in call.accounts:
        return _of_protocol(call, seen)
    market = seen.markets.get(call.accounts["market"])
    if market is None:
        return None
    if call.name in _TRADES:
        return _trade(call, market, seen.trades.get(ordinal), seen)
    return _OF_MARKETS[call.name](call, market, seen)


def _of_protocol(call: Call, seen: Evidence) -> ChainEvent | None:
    if call.name == "initialize_global_config":
        admin = Wallet(call.accounts["admin"])
        return events.GlobalConfigInitialized(admin, Wallet(call.args[0]), FIRST_FEE_BPS, seen.at_s)
    if call.name == "update_global_config" and None not in call.args:
        fields = (*call.args, seen.at_s)
        return events.ConfigUpdated(*fields)
    return None  # a period that was left as it was; or the pause, which is a toggle


def _voted(kind: type[events.ProposalVoteSubmitted] | type[events.DisputeVoteSubmitted]) -> _Derive:
    def derive(call: Call, market: ObservedMarket, seen: Evidence) -> ChainEvent:
        return kind(market.market_id, Wallet(call.accounts["user"]), call.args[0], seen.at_s)

    return derive


def _proposal_aggregated(call: Call, market: ObservedMarket, seen: Evidence) -> ChainEvent | None:
    """The threshold of then is nowhere, so only a share that meets every threshold tells what came of it."""
    likes, dislikes = call.args
    if dislikes or not likes:
        return None
    return events.ProposalAggregated(market.market_id, likes, dislikes, 100, True, seen.at_s)


def _approved(call: Call, market: ObservedMarket, seen: Evidence) -> ChainEvent:
    return events.ProposalApproved(market.market_id, Wallet(call.accounts["admin"]), seen.at_s)


def _cancelled(call: Call, market: ObservedMarket, seen: Evidence) -> ChainEvent:
    return events.MarketCancelled(market.market_id, Wallet(call.accounts["admin"]), seen.at_s)


def _activated(_: Call, market: ObservedMarket, seen: Evidence) -> ChainEvent:
    return events.MarketActivated(market.market_id, market.creator, market.initial_liquidity, seen.at_s)


def _resolved(call: Call, market: ObservedMarket, seen: Evidence) -> ChainEvent:
    outcome, evidence = call.args
    return events.MarketResolved(market.market_id, Wallet(call.accounts["resolver"]), outcome, evidence, seen.at_s)


def _disputed(call: Call, market: ObservedMarket, seen: Evidence) -> ChainEvent:
    """A proposed outcome is never cleared, and nobody can propose another one (Q2)."""
    initiator = Wallet(call.accounts["initiator"])
    return events.DisputeInitiated(market.market_id, initiator, market.proposed_outcome, seen.at_s)


def _dispute_aggregated(call: Call, market: ObservedMarket, seen: Evidence) -> ChainEvent:
    """One that failed ended its market in that second, with these tallies; any other succeeded (Q2, Q5)."""
    agrees, disagrees = call.args
    shown = (market.resolved_at_s, market.dispute_agree, market.dispute_disagree)
    has_failed = shown == (seen.at_s, agrees, disagrees)
    percentage = agrees * 100 // (agrees + disagrees) if agrees + disagrees else 0
    return events.DisputeAggregated(market.market_id, agrees, disagrees, percentage, not has_failed, seen.at_s)


def _finalized(_: Call, market: ObservedMarket, seen: Evidence) -> ChainEvent | None:
    if market.was_disputed is None:
        return None
    return events.MarketFinalized(market.market_id, market.final_outcome, market.was_disputed, seen.at_s)


def _claimed(call: Call, market: ObservedMarket, seen: Evidence) -> ChainEvent | None:
    """A position is claimed once, and says how much."""
    position = seen.positions.get((call.accounts["market"], call.accounts["user"]))
    if position is None or not position.has_claimed:
        return None
    if seen.build == "old":
        return _claimed_of_old(market, position, seen)
    return events.WinningsClaimed(market.pda, position.user, market.final_outcome, position.claimed_amount, seen.at_s)


def _claimed_of_old(market: ObservedMarket, position: ObservedPosition, seen: Evidence) -> ChainEvent | None:
    """What left the market beyond the claim was the resolver's fee, where no other instruction moved anything."""
    if not seen.frames.only_one_names(market.pda):
        return None
    before, after = seen.frames.balances[market.pda]
    resolver_fee = before - after - position.claimed_amount
    if resolver_fee < 0:
        return None
    claimed = position.claimed_amount
    return events.OldWinningsClaimed(market.market_id, position.user, claimed, resolver_fee, seen.at_s)


def _withdrawn(call: Call, market: ObservedMarket, seen: Evidence) -> ChainEvent | None:
    address = call.accounts["market"]
    if not seen.frames.only_one_names(address):
        return None
    before, after = seen.frames.balances[address]
    if after > before:
        return None  # no withdrawal leaves more than there was: these are not the balances of this one
    return events.LiquidityWithdrawn(market.market_id, Wallet(call.accounts["creator"]), before - after, seen.at_s)


def _trade(call: Call, market: ObservedMarket, found: TradeFound | None, seen: Evidence) -> ChainEvent | None:
    if found is None:
        return None
    kind = _TRADES[call.name]
    user = Wallet(call.accounts["user"])
    return kind(market.market_id, user, call.args[0], found.shares, found.amount, found.price_yes, seen.at_s)


_Derive = Callable[[Call, ObservedMarket, Evidence], ChainEvent | None]
_TRADES = {"buy_shares": events.SharesBought, "sell_shares": events.SharesSold}
_OF_MARKETS: Mapping[str, _Derive] = {
    "submit_proposal_vote": _voted(events.ProposalVoteSubmitted),
    "submit_dispute_vote": _voted(events.DisputeVoteSubmitted),
    "aggregate_proposal_votes": _proposal_aggregated,
    "approve_proposal": _approved,
    "cancel_market": _cancelled,
    "activate_market": _activated,
    "resolve_market": _resolved,
    "initiate_dispute": _disputed,
    "aggregate_dispute_votes": _dispute_aggregated,
    "finalize_market": _finalized,
    "claim_winnings": _claimed,
    "withdraw_liquidity": _withdrawn,
}
