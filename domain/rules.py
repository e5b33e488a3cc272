"""What a decision depends on besides the market: the live GlobalConfig, settings and the time it is made at."""

from __future__ import annotations

import enum
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from domain.observed import ChainConfig

STUCK_AFTER_S = 30 * 86_400
"""The specification's 30 days."""


class Schedule(Protocol):
    """A grid of instants in Unix seconds, such as `*/5 * * * *`."""

    def next_after(self, unix_s: int) -> int:
        """The first instant of the grid strictly after `unix_s`."""
        ...


class ZeroVotes(enum.StrEnum):
    """How a dispute ends on which nobody voted (decisions P5, CI D9)."""

    UPHOLD = "uphold"
    """The proposed outcome stands, by a synthetic vote of 0 to 1."""
    HOLD = "hold"
    """Nothing is sent, and an operator is called."""
    INVALIDATE = "invalidate"
    """The market ends without an outcome, and its money is given back."""


@dataclass(frozen=True, slots=True)
class Rules:
    """`config` is None until GlobalConfig was read once; without it nothing is sent."""

    config: ChainConfig | None
    schedule: Schedule
    min_proposal_votes: int
    """Votes below which a proposal is never approved (decisions P1)."""
    zero_votes: ZeroVotes = ZeroVotes.UPHOLD
    stuck_after_s: int = STUCK_AFTER_S
    """Seconds without on-chain activity after which people hear of a market, every day."""


@dataclass(frozen=True, slots=True)
class Now:
    """The time of a decision: chain clock for grids and windows, wall clock for retries (P6), and a source of ids."""

    chain_s: int
    wall_s: int
    new_id: Callable[[], str]
    has_chain_time: bool = True
    """False before the chain's clock was read once: no window ends on a guess."""
