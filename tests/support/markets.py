"""Markets, rules and times for tests: ordinary values that a test changes where it matters."""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import Any

from domain.commands import CastVote
from domain.events import MarketAdopted
from domain.ids import MarketId, Wallet, base58_encode
from domain.lifecycle import Lifecycle
from domain.market import Market, evolve
from domain.observed import ChainConfig, ObservedMarket
from domain.rules import Now, Rules
from domain.tally import VoteType

NOON_S = 1_762_516_800
"""2025-11-07 12:00:00 UTC, an instant of the five-minute grid."""

_ids = itertools.count(1)


class FiveMinutes:
    """The grid `*/5 * * * *`."""

    def next_after(self, unix_s: int) -> int:
        return (unix_s // 300 + 1) * 300


def key(number: int) -> str:
    """The base58 text of a 32-byte key that is the number `number`."""
    return base58_encode(number.to_bytes(32, "big"))


def market_id(number: int = 1) -> MarketId:
    return MarketId(key(number))


def wallet(number: int) -> Wallet:
    return Wallet(key(10_000 + number))


ADMIN, BACKEND, CREATOR = wallet(1), wallet(2), wallet(3)


def observed(**changes: Any) -> ObservedMarket:
    """A freshly created market account, read at slot 10."""
    account = ObservedMarket(
        market_id=market_id(),
        pda=wallet(900),
        creator=CREATOR,
        state=Lifecycle.PROPOSED,
        slot=10,
        b_parameter=100_000_000_000,
        initial_liquidity=100_000_000,
        current_liquidity=100_000_000,
        shares_yes=100_000_000,
        shares_no=100_000_000,
        total_volume=0,
        created_at_s=NOON_S - 60,
        approved_at_s=0,
        activated_at_s=0,
        resolution_proposed_at_s=0,
        resolved_at_s=0,
        finalized_at_s=0,
        dispute_initiated_at_s=0,
        cancelled_at_s=0,
        proposed_outcome=None,
        final_outcome=None,
        proposal_likes=0,
        proposal_dislikes=0,
        dispute_agree=0,
        dispute_disagree=0,
    )
    return replace(account, **changes)


def market(**changes: Any) -> Market:
    """A market as it stands right after adoption."""
    return replace(evolve(None, MarketAdopted(observed())), version=1, **changes)


def config(**changes: Any) -> ChainConfig:
    """GlobalConfig with the defaults of the program; both of our keys fit."""
    defaults = ChainConfig(
        slot=1,
        admin=ADMIN,
        backend_authority=BACKEND,
        proposal_threshold_bps=7000,
        dispute_threshold_bps=6000,
        dispute_period_s=259_200,
        is_paused=False,
        may_aggregate=True,
        may_approve=True,
    )
    return replace(defaults, **changes)


def rules(min_proposal_votes: int = 10, **changes: Any) -> Rules:
    return Rules(config(**changes), FiveMinutes(), min_proposal_votes)


def now(chain_s: int = NOON_S, wall_s: int = NOON_S) -> Now:
    return Now(chain_s, wall_s, lambda: f"intent-{next(_ids)}")


def vote(number: int, choice: bool = True, **changes: Any) -> CastVote:
    """A proposal vote by wallet `number`."""
    cast = CastVote(market_id(), f"vote-{number}", wallet(number), VoteType.PROPOSAL, choice, 1, None)
    return replace(cast, **changes)
