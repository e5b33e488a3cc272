"""Shard processes as they tell of themselves, and who owns what."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

SILENT_S_MAX = 10.0
"""A process that has not spoken for five of its beats is not called alive any more."""


@dataclass(frozen=True, slots=True)
class ShardBeat:
    """What a shard process says of itself now."""

    slot: str
    host: str
    pid: int
    virtual_shards: int
    resident_markets: int
    deadlines: int
    """Markets that wait for one."""
    lag_s: int
    """How long the earliest of them has been due; 0 when none is."""
    restarts: int
    recent_losses: int


@dataclass(frozen=True, slots=True)
class ShardProcess:
    """The last word of a place's process."""

    beat: ShardBeat
    started_at: datetime
    heartbeat_at: datetime
    silent_s: float
    """By the database's clock."""

    @property
    def is_alive(self) -> bool:
        """Whether it spoke lately."""
        return self.silent_s <= SILENT_S_MAX


@dataclass(frozen=True, slots=True)
class OwnedShard:
    """A virtual shard and the process that took it last; empty host and pid 0 when nobody ever did."""

    number: int
    host: str
    pid: int
    epoch: int
