"""How a vote stands while it is open, and how long it still is (T65)."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from domain.disputes import window_ends_s
from domain.feed import tally_payload
from domain.lifecycle import Lifecycle
from domain.market import Market
from domain.observed import ChainConfig
from domain.rules import Schedule
from domain.tally import VoteType

_OPEN = {Lifecycle.PROPOSED: VoteType.PROPOSAL, Lifecycle.DISPUTED: VoteType.DISPUTE}


def progress_payload(
    market: Market, config: ChainConfig | None, schedule: Schedule, chain_s: int
) -> dict[str, Any] | None:
    """VOTING_PROGRESS in JSON values, or None while nobody can vote.

    A proposal's tallies go on chain at the next instant of the grid. A dispute's do when its window ends, which is not
    known before GlobalConfig was read.
    """
    kind = _OPEN.get(market.state)
    if kind is None or market.voting_closed:
        return None
    ends_s = window_ends_s(market, config) if kind is VoteType.DISPUTE and config is not None else None
    next_s = schedule.next_after(chain_s) if ends_s is None or ends_s <= chain_s else ends_s
    told = {**tally_payload(market, kind), "total": _total(market, kind), "time_remaining_seconds": next_s - chain_s}
    if config is not None:
        proposal, dispute = config.proposal_threshold_bps, config.dispute_threshold_bps
        told["threshold_bps"] = proposal if kind is VoteType.PROPOSAL else dispute
    if ends_s is not None:
        told["window_ends_at"] = datetime.fromtimestamp(ends_s, UTC).isoformat().replace("+00:00", "Z")
    return told


def _total(market: Market, kind: VoteType) -> int | str:
    """Voters of a proposal, weight of a dispute."""
    if kind is VoteType.PROPOSAL:
        return market.proposal.yes_voters + market.proposal.no_voters
    return str(market.dispute.total)
