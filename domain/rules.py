"""What a decision depends on besides the market: the live GlobalConfig, settings and the time it is made at."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from domain.observed import ChainConfig


class Schedule(Protocol):
    """A grid of instants in Unix seconds, such as `*/5 * * * *`."""

    def next_after(self, unix_s: int) -> int:
        """The first instant of the grid strictly after `unix_s`."""
        ...


@dataclass(frozen=True, slots=True)
class Rules:
    """`config` is None until GlobalConfig was read once; without it nothing is sent."""

    config: ChainConfig | None
    schedule: Schedule
    min_proposal_votes: int
    """Votes below which a proposal is never approved (decisions P1)."""


@dataclass(frozen=True, slots=True)
class Now:
    """The time of a decision: chain clock for grids and windows, wall clock for retries (P6), and a source of ids."""

    chain_s: int
    wall_s: int
    new_id: Callable[[], str]
