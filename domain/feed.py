"""What the world is told after a commit: numbered messages, gapless per channel (decisions F1 to F3)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from domain.claims import claims_of
from domain.ids import MarketId, Wallet
from domain.lifecycle import Lifecycle
from domain.market import Market, changed
from domain.positions import PositionRead, StoredPosition
from domain.tally import VoteType

_MARKET = "market_"
_KINDS = tuple(VoteType)


@dataclass(frozen=True, slots=True)
class FeedMessage:
    """One numbered message of one channel; `payload` holds JSON values, weights as decimal strings (T6).

    A tally of a market is told in two channels: `votes_seq` is its number in the market's votes channel.
    """

    channel: str
    seq: int
    type: str
    payload: dict[str, Any]
    votes_seq: int | None = None

    @property
    def places(self) -> tuple[tuple[str, int], ...]:
        """Channel and number wherever it is told."""
        return told_at(self.channel, self.seq, self.votes_seq)


@dataclass(frozen=True, slots=True)
class ToldChange:
    """One numbered change of a market as it was told; `told_at` has a time zone."""

    market_id: MarketId
    seq: int
    type: str
    payload: Mapping[str, Any]
    told_at: datetime


@dataclass(frozen=True, slots=True)
class FeedNews:
    """What was told after a place in each of several markets, in order; `epoch` names the stored history."""

    epoch: str
    changes: tuple[ToldChange, ...]


def market_channel(market_id: MarketId) -> str:
    """The channel with everything about one market."""
    return f"{_MARKET}{market_id}"


def votes_channel(market_id: MarketId) -> str:
    """The channel with the tallies of one market."""
    return f"votes_{market_id}"


def told_at(channel: str, seq: int, votes_seq: int | None) -> tuple[tuple[str, int], ...]:
    """Channel and number of a message, and of its second place, in its market's votes channel, if it has one."""
    if votes_seq is None:
        return ((channel, seq),)
    return ((channel, seq), (votes_channel(MarketId(channel.removeprefix(_MARKET))), votes_seq))


def positions_channel(wallet: Wallet) -> str:
    """The channel with what one wallet holds, for that wallet alone (T59)."""
    return f"user_{wallet}_positions"


def position_payload(position: StoredPosition | PositionRead) -> dict[str, Any]:
    """What a wallet holds in one market; 64-bit numbers as decimal text (T6), `last_trade_at` in Unix seconds."""
    return {
        "market_id": position.holding.market_id,
        "shares_yes": str(position.shares_yes),
        "shares_no": str(position.shares_no),
        "total_invested": str(position.total_invested),
        "trades_count": position.trades_count,
        "last_trade_at": position.last_trade_at_s,
        "has_claimed": position.has_claimed,
        "claimed_amount": str(position.claimed_amount),
        "slot": str(position.slot),
    }


def announce(
    before: Market | None, after: Market, version: int, *, tells_all: bool = False
) -> tuple[Market, tuple[FeedMessage, ...]]:
    """`after` as version `version` with its sequences moved on, and the messages that this commit owes.

    A market that has just been adopted owes nothing: nobody can have a snapshot of it yet. `tells_all` is for one whose
    past is not known here: its tallies and its state (as old and new) are told though `before` shows no difference.
    """
    if before is None:
        return replace(after, version=version), ()
    updates = [tally_payload(after, kind) for kind in _KINDS if tells_all or before.tally(kind) != after.tally(kind)]
    if after.is_upheld and not before.is_upheld:
        updates.append({**tally_payload(after, VoteType.DISPUTE), "synthetic": True})
    channel, seq, votes_seq = market_channel(after.market_id), after.market_seq, after.votes_seq
    told = []
    for update in updates:
        seq, votes_seq = seq + 1, votes_seq + 1
        told.append(FeedMessage(channel, seq, "VOTE_UPDATE", update, votes_seq))
    for name, payload in _state_news(before, after) if tells_all or before.state is not after.state else ():
        seq += 1
        told.append(FeedMessage(channel, seq, name, payload))
    return changed(after, version=version, market_seq=seq, votes_seq=votes_seq), tuple(told)


def _state_news(before: Market, after: Market) -> list[tuple[str, dict[str, Any]]]:
    """What is told of a market that has come to another state."""
    changed_to = {"market_id": after.market_id, "old_state": before.state.name, "new_state": after.state.name}
    news = [("STATE_CHANGED", changed_to)]
    return [*news, ("CLAIMS_ENABLED", claims_payload(after))] if after.state is Lifecycle.FINALIZED else news


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


def claims_payload(market: Market) -> dict[str, Any]:
    """What holders of an ended market want to know; money in lamports, and what is due only where it is known."""
    claims = claims_of(market)
    assert claims is not None, "only an ended market has claims"
    due = {} if claims.due is None else {"due_lamports": str(claims.due)}
    outcome = outcome_word(market)
    return {"market_id": market.market_id, "outcome": outcome, "payable_lamports": str(claims.payable), **due}


def outcome_word(market: Market) -> str:
    """YES, NO, INVALID for a market that ended without an outcome, empty as long as it has not ended."""
    if market.state is not Lifecycle.FINALIZED:
        return ""
    return "INVALID" if market.final_outcome is None else "YES" if market.final_outcome else "NO"


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
        "claims_enabled": market.state is Lifecycle.FINALIZED,
        "outcome": outcome_word(market),
    }
