"""Instructions that bring a market to its outcome: resolve, dispute, finalize (CI 6.2, 12, 13, 16)."""

from __future__ import annotations

from chain.ledger.borsh import BOOL, HASH, U32, optional
from chain.ledger.zmart import lmsr, rules
from chain.ledger.zmart.anchor import Context, instruction
from chain.ledger.zmart.records import ACTIVE, DISPUTED, FINALIZED, RESOLVING, Market

MARKET_AGE_S_MAX = 315_360_000
"""Ten years after its creation a market can neither be resolved nor finalized (CI 2)."""


def _check_time(context: Context, market: Market, after_s: int) -> None:
    """Between the market's creation and its tenth birthday, and strictly after the step before (Q9)."""
    oldest = lmsr.add(market.created_at, MARKET_AGE_S_MAX, lmsr.I64_MAX)
    context.require(market.created_at <= context.now_s <= oldest, "InvalidTimestamp")
    context.require(context.now_s > after_s, "InvalidTimestamp")


def _dispute_deadline_s(context: Context, market: Market) -> int:
    """The end of the dispute window by the period configured now, not by that of the resolution (Q8)."""
    return lmsr.add(market.resolution_proposed_at, rules.config_of(context).dispute_period, lmsr.I64_MAX)


def _resolve(context: Context) -> None:
    outcome, evidence_hash = context.args
    market = rules.market_of(context)
    _check_time(context, market, market.activated_at)
    market.proposed_outcome = outcome
    market.resolver = context.key("resolver")
    market.ipfs_evidence_hash = evidence_hash
    market.resolution_proposed_at = context.now_s
    market.resolution_agree = market.resolution_disagree = market.resolution_total_votes = 0
    market.state = RESOLVING
    context.emit("MarketResolved", market.market_id, market.resolver, outcome, evidence_hash, context.now_s)


RESOLVE_MARKET = instruction(
    "resolve_market",
    [BOOL, HASH],
    [
        rules.config(),
        rules.market(rules.in_state("InvalidMarketState", ACTIVE)),
        rules.signer("resolver", is_writable=True),
    ],
    _resolve,
)


def _dispute(context: Context) -> None:
    market = rules.market_of(context)
    context.require(context.now_s > market.resolution_proposed_at, "InvalidTimestamp")
    context.require(context.now_s < _dispute_deadline_s(context, market), "DisputePeriodEnded")
    market.dispute_initiator = context.key("initiator")
    market.dispute_initiated_at = context.now_s
    market.dispute_agree = market.dispute_disagree = market.dispute_total_votes = 0
    market.state = DISPUTED
    context.emit("DisputeInitiated", market.market_id, market.dispute_initiator, market.proposed_outcome, context.now_s)


INITIATE_DISPUTE = instruction(
    "initiate_dispute",
    [],
    [
        rules.config(),
        rules.market(rules.in_state("InvalidMarketState", RESOLVING)),
        rules.signer("initiator"),
    ],
    _dispute,
)


def _finalize(context: Context) -> None:
    market = rules.market_of(context)
    _check_time(context, market, market.resolution_proposed_at)
    is_disputed = market.state == DISPUTED
    outcome = market.proposed_outcome
    if not is_disputed:
        context.require(context.now_s >= _dispute_deadline_s(context, market), "DisputePeriodNotEnded")
    elif _dispute_succeeded(context, market):
        outcome = not outcome
    loss = max(0, market.initial_liquidity - market.current_liquidity)
    context.require(loss <= lmsr.max_loss(market.b_parameter), "BoundedLossExceeded")
    market.final_outcome, market.was_disputed = outcome, is_disputed
    market.finalized_at, market.state = context.now_s, FINALIZED
    context.emit("MarketFinalized", market.market_id, outcome, is_disputed, context.now_s)


def _dispute_succeeded(context: Context, market: Market) -> bool:
    """Store the tallies and say whether they reach the threshold; the window is the backend's affair (Q6)."""
    agree, disagree = context.args
    context.require(agree is not None and disagree is not None, "NoVotesRecorded")
    total = lmsr.add(agree, disagree, lmsr.U32_MAX)
    context.require(total > 0, "NoVotesRecorded")
    market.dispute_agree, market.dispute_disagree, market.dispute_total_votes = agree, disagree, total
    return bool(agree * lmsr.BPS // total >= rules.config_of(context).dispute_success_threshold)


FINALIZE_MARKET = instruction(
    "finalize_market",
    [optional(U32), optional(U32)],
    [
        rules.config(),
        rules.market(rules.in_state("InvalidMarketState", RESOLVING, DISPUTED)),
        rules.backend_authority(),
    ],
    _finalize,
)
