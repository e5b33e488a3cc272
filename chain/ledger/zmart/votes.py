"""Instructions about votes on chain, and the tally that ends a dispute the unwanted way (CI 6.2, 5, 14, 15)."""

from __future__ import annotations

from chain.ledger.borsh import BOOL, U32
from chain.ledger.zmart import rules
from chain.ledger.zmart.anchor import Context, Instruction, Rule, instruction
from chain.ledger.zmart.lmsr import BPS, U32_MAX, add
from chain.ledger.zmart.records import (
    DISPUTE_VOTE,
    DISPUTED,
    FINALIZED,
    PROPOSAL_VOTE,
    PROPOSED,
    RESOLVING,
    VoteRecord,
)


def _submit(name: str, state: int, vote_type: int, event: str) -> Instruction:
    """One vote of one wallet: the record is created before the market's state is looked at (CI 8)."""

    def record(context: Context) -> None:
        (vote,) = context.args
        written = context.record("vote_record", VoteRecord)
        written.market, written.user = context.key("market"), context.key("user")
        written.vote_type, written.vote = vote_type, vote
        written.voted_at = context.now_s
        written.bump = context.bump("vote_record")
        context.emit(event, rules.market_of(context).market_id, written.user, vote, context.now_s)

    vote_record = Rule(
        "vote_record",
        is_writable=True,
        record=VoteRecord,
        seeds=lambda c: (b"vote", c.key("market"), c.key("user"), bytes([vote_type])),
        payer="user",
    )
    market = rules.market(rules.in_state("InvalidStateForVoting", state), is_writable=False)
    accounts = [market, vote_record, rules.signer("user", is_writable=True), rules.SYSTEM]
    return instruction(name, [BOOL], accounts, record)


SUBMIT_PROPOSAL_VOTE = _submit("submit_proposal_vote", PROPOSED, PROPOSAL_VOTE, "ProposalVoteSubmitted")
SUBMIT_DISPUTE_VOTE = _submit("submit_dispute_vote", DISPUTED, DISPUTE_VOTE, "DisputeVoteSubmitted")


def _aggregate_dispute(context: Context) -> None:
    """Success leads back to Resolving with the rejected outcome, failure to Finalized without one (Q2, Q5)."""
    agrees, disagrees = context.args
    total = add(agrees, disagrees, U32_MAX)
    market = rules.market_of(context)
    market.dispute_agree, market.dispute_disagree, market.dispute_total_votes = agrees, disagrees, total
    threshold = rules.config_of(context).dispute_success_threshold
    has_succeeded = total > 0 and agrees * BPS // total >= threshold
    market.was_disputed = True
    if has_succeeded:
        market.state = RESOLVING
    else:
        market.state, market.resolved_at = FINALIZED, context.now_s
    percentage = agrees * 100 // total if total else 0
    context.emit("DisputeAggregated", market.market_id, agrees, disagrees, percentage, has_succeeded, context.now_s)


AGGREGATE_DISPUTE_VOTES = instruction(
    "aggregate_dispute_votes",
    [U32, U32],
    [
        rules.market(rules.in_state("InvalidStateForVoting", DISPUTED)),
        rules.config(),
        rules.backend_authority(),
    ],
    _aggregate_dispute,
)
