"""What the world is told after a commit: numbered messages, gapless per channel (decisions F1 to F3)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from domain.ids import MarketId
from domain.market import Market
from domain.tally import VoteType


@dataclass(frozen=True, slots=True)
class FeedMessage:
    """One numbered message of one channel; `payload` holds JSON values, weights as decimal strings (T6)."""

    channel: str
    seq: int
    type: str
    payload: dict[str, Any]


def market_channel(market_id: MarketId) -> str:
    """The channel with everything about one market."""
    return f"market_{market_id}"


def votes_channel(market_id: MarketId) -> str:
    """The channel with the tallies of one market."""
    return f"votes_{market_id}"


def announce(before: Market | None, after: Market) -> tuple[Market, tuple[FeedMessage, ...]]:
    """The messages that a commit from `before` to `after` owes, and `after` with its sequences moved on.

    A market that has just been adopted owes nothing: nobody can have a snapshot of it yet.
    """
    if before is None:
        return after, ()
    messages: list[FeedMessage] = []
    for vote_type in VoteType:
        if before.tally(vote_type) != after.tally(vote_type):
            after = _tell_both(after, "VOTE_UPDATE", tally_payload(after, vote_type), messages)
    if before.state is not after.state:
        after = _tell_market(after, "STATE_CHANGED", _state_payload(before, after), messages)
    return after, tuple(messages)


def tally_payload(market: Market, vote_type: VoteType) -> dict[str, Any]:
    """The tally of one type in the specification's words."""
    tally = market.tally(vote_type)
    counts: dict[str, Any] = (
        {"likes": tally.yes_voters, "dislikes": tally.no_voters}
        if vote_type is VoteType.PROPOSAL
        else {"support": str(tally.yes), "reject": str(tally.no)}
    )
    return {
        "market_id": market.market_id,
        "vote_type": vote_type.value,
        **counts,
        "percentage_bps": tally.percentage_bps,
    }


def snapshot_payload(market: Market) -> dict[str, Any]:
    """What a subscriber needs before the first numbered message."""
    return {
        "market_id": market.market_id,
        "state": market.state.name,
        "version": str(market.version),
        "likes": market.proposal.yes_voters,
        "dislikes": market.proposal.no_voters,
        "support": str(market.dispute.yes),
        "reject": str(market.dispute.no),
        "proposal_percentage_bps": market.proposal.percentage_bps,
        "dispute_percentage_bps": market.dispute.percentage_bps,
        "approval_ready": market.approval_ready,
    }


def _state_payload(before: Market, after: Market) -> dict[str, Any]:
    return {"market_id": after.market_id, "old_state": before.state.name, "new_state": after.state.name}


def _tell_market(market: Market, kind: str, payload: dict[str, Any], out: list[FeedMessage]) -> Market:
    market = replace(market, market_seq=market.market_seq + 1)
    out.append(FeedMessage(market_channel(market.market_id), market.market_seq, kind, payload))
    return market


def _tell_both(market: Market, kind: str, payload: dict[str, Any], out: list[FeedMessage]) -> Market:
    market = _tell_market(market, kind, payload, out)
    market = replace(market, votes_seq=market.votes_seq + 1)
    out.append(FeedMessage(votes_channel(market.market_id), market.votes_seq, kind, payload))
    return market
