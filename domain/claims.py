"""What can be claimed of a market that has ended: advice, for the program alone decides (CI 10.9, D20)."""

from __future__ import annotations

from dataclasses import dataclass

from domain.lifecycle import Lifecycle
from domain.market import Market

SEED_PART = 1000
"""Both sides begin with b/1000 shares that nobody owns (CI 10.9)."""


@dataclass(frozen=True, slots=True)
class Claims:
    """`payable` is what the pool can still pay in lamports; `due` what all winners together had coming at the end.

    Who claims late may find less than is due: the creator may withdraw, and claims share one pool (CI Q13). `due` is
    None without an outcome, when each gets back what it put in, which the market's account does not sum up.
    """

    available_at_s: int
    payable: int
    due: int | None


def claims_of(market: Market) -> Claims | None:
    """None while the market is not FINALIZED."""
    if market.state is not Lifecycle.FINALIZED:
        return None
    available_at_s = market.finalized_at_s or market.resolved_at_s or market.active_at_s or market.created_at_s
    if market.final_outcome is None:
        return Claims(available_at_s, market.pool_lamports, None)
    payable = max(market.pool_lamports - market.resolver_fees, 0)
    return Claims(available_at_s, payable, _due(market, market.final_outcome))


def _due(market: Market, outcome: bool) -> int:
    """The sum of the winners' parts before each is rounded down, so at most a lamport a winner too much."""
    side = market.shares_yes if outcome else market.shares_no
    if side == 0:
        return 0
    return max(side - market.b_parameter // SEED_PART, 0) * market.current_liquidity // side
