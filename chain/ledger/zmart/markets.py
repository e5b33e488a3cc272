"""Instructions that carry a market from nothing to trading: create, tally, approve, activate, cancel."""

from __future__ import annotations

from chain.ledger.borsh import HASH, KEY, U32, U64
from chain.ledger.zmart import rules
from chain.ledger.zmart.anchor import Context, Rule, instruction
from chain.ledger.zmart.lmsr import BPS, U32_MAX, add
from chain.ledger.zmart.records import ACTIVE, APPROVED, CANCELLED, PROPOSED, Market


def _create(context: Context) -> None:
    market_id, b_parameter, initial_liquidity, question_hash = context.args
    context.require(not rules.config_of(context).is_paused, "ProtocolPaused")
    context.require(b_parameter > 0, "InvalidBParameter")
    context.require(initial_liquidity > 0, "InvalidLiquidity")
    market = rules.market_of(context)
    market.market_id = market_id
    market.creator = context.key("creator")
    market.state = PROPOSED
    market.b_parameter = b_parameter
    market.initial_liquidity = market.current_liquidity = initial_liquidity
    market.shares_yes = market.shares_no = b_parameter // 1_000
    market.created_at = context.now_s
    market.ipfs_evidence_hash = question_hash
    market.bump = context.bump("market")
    context.emit("MarketCreated", market_id, market.creator, b_parameter, market.state, context.now_s)


CREATE_MARKET = instruction(
    "create_market",
    [KEY, U64, U64, HASH],
    [
        rules.signer("creator", is_writable=True),
        Rule(
            "market",
            is_writable=True,
            record=Market,
            seeds=lambda context: (b"market", context.args[0]),
            payer="creator",
        ),
        rules.config(),
        rules.SYSTEM,
    ],
    _create,
)


def _aggregate(context: Context) -> None:
    likes, dislikes = context.args
    total = add(likes, dislikes, U32_MAX)
    market = rules.market_of(context)
    market.proposal_likes, market.proposal_dislikes, market.proposal_total_votes = likes, dislikes, total
    bps = likes * BPS // total if total else 0
    approved = bps >= rules.config_of(context).proposal_approval_threshold
    context.emit("ProposalAggregated", market.market_id, likes, dislikes, bps // 100, approved, context.now_s)


AGGREGATE_PROPOSAL_VOTES = instruction(
    "aggregate_proposal_votes",
    [U32, U32],
    [
        rules.market(rules.in_state("InvalidStateForVoting", PROPOSED)),
        rules.config(),
        rules.backend_authority(),
    ],
    _aggregate,
)


def _approve(context: Context) -> None:
    market = rules.market_of(context)
    context.require(market.state == PROPOSED, "InvalidStateTransition")
    context.require(market.proposal_total_votes > 0, "NoVotesRecorded")
    bps = market.proposal_likes * BPS // market.proposal_total_votes
    context.require(bps >= rules.config_of(context).proposal_approval_threshold, "InsufficientVotes")
    market.state = APPROVED
    market.approved_at = context.now_s
    context.emit("ProposalApproved", market.market_id, context.key("admin"), context.now_s)


APPROVE_PROPOSAL = instruction(
    "approve_proposal", [], [rules.admin(is_writable=True), rules.market(), rules.config()], _approve
)


def _cancel(context: Context) -> None:
    market = rules.market_of(context)
    context.require(market.state != CANCELLED, "MarketAlreadyCancelled")
    context.require(market.state in (PROPOSED, APPROVED), "CannotCancelMarket")
    market.state = CANCELLED
    market.cancelled_at = context.now_s
    context.emit("MarketCancelled", market.market_id, context.key("admin"), context.now_s)


CANCEL_MARKET = instruction("cancel_market", [], [rules.admin(), rules.market(), rules.config()], _cancel)


def _may_activate(context: Context) -> bool:
    return context.key("authority") in (rules.config_of(context).admin, rules.market_of(context).creator)


def _activate(context: Context) -> None:
    market = rules.market_of(context)
    context.require(market.state == APPROVED, "InvalidStateTransition")
    context.require(market.current_liquidity >= market.initial_liquidity, "InsufficientLiquidity")
    market.state = ACTIVE
    market.activated_at = context.now_s
    context.emit("MarketActivated", market.market_id, market.creator, market.initial_liquidity, context.now_s)


ACTIVATE_MARKET = instruction(
    "activate_market",
    [],
    [rules.signer("authority", (_may_activate, "Unauthorized"), is_writable=True), rules.market(), rules.config()],
    _activate,
)
