"""What NodeSupervisor knows about its children, without any process: who lives, who is late, who is started when."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import Any

from actors.metrics import ACTOR_RESTARTS

BACKOFF_S_FIRST = 0.04
BACKOFF_S_MAX = 2.0
"""A child that never came up, or fell right after, is tried again after 40 ms, doubling to 2 s; others at once."""
STABLE_S = 0.5
"""A child that has served this long was sound: its end says nothing about the next one's."""
SILENCE_S_MAX = 2.0
"""A child that has not answered a ping for this long is frozen and is killed."""
PATIENCE_S_MAX = 16.0
"""What the next one is given where one after the other was killed: each twice the last. On a machine that is slow, not
deaf, the work that took too long comes again, and must not be the end of every process that takes it up."""
CALM_S = 60.0
"""A child that has served this long is not one of a row."""
BOOT_S_MAX = 20.0
"""The time to come up: waiting for locks of a dying predecessor is bounded well below."""
LOSSES_WITHIN_S = 600.0
LOSSES_KEPT = 100
LOSSES_HEARD = 5
"""So many losses of one place within ten minutes are no accident: people are told."""


@dataclass(slots=True)
class Child:
    """One place in the tree and the process that fills it at the moment, if any."""

    slot: str
    address: Any = None
    pid: int | None = None
    attempt: int = 0
    failures: int = 0
    silences: int = 0
    booted: bool = False
    spawned_at_s: float = 0.0
    heard_at_s: float = 0.0
    booted_at_s: float = 0.0
    epochs: dict[int, int] = field(default_factory=dict)
    door: tuple[str, int] = ("", 0)
    lost_at_s: deque[float] = field(default_factory=lambda: deque(maxlen=LOSSES_KEPT))

    def spawned(self, address: Any, now_s: float) -> int:
        """A new process was asked for; returns the number of this attempt."""
        self.address, self.pid, self.booted, self.epochs = address, None, False, {}
        self.attempt += 1
        self.spawned_at_s = self.heard_at_s = now_s
        return self.attempt

    def heard(self, pid: int, now_s: float) -> None:
        """A sign of life."""
        self.pid, self.heard_at_s = pid, now_s
        if self.booted and now_s - self.booted_at_s >= CALM_S:
            self.silences = 0

    def killed(self) -> None:
        """It was silent for too long."""
        self.silences += 1

    def serves(self, pid: int, epochs: dict[int, int], now_s: float, door: tuple[str, int] = ("", 0)) -> None:
        """It is up; `door` is where a shard takes batches."""
        self.heard(pid, now_s)
        self.booted, self.booted_at_s, self.epochs, self.door = True, now_s, epochs, door

    def lost(self, now_s: float) -> float:
        """The process is gone; returns how long to wait before the next one, in seconds."""
        if self.booted:  # one that never came up has most likely no database, and that is an alert of its own
            self.lost_at_s.append(now_s)
            ACTOR_RESTARTS.inc()
        served = self.booted and now_s - self.booted_at_s >= STABLE_S
        self.address, self.pid, self.booted, self.epochs = None, None, False, {}
        if served:
            self.failures = 0
            return 0.0
        self.failures += 1
        return float(min(BACKOFF_S_FIRST * 2 ** (self.failures - 1), BACKOFF_S_MAX))

    def recent_losses(self, now_s: float) -> int:
        """How often a process that had come up here was lost within the last ten minutes, counted up to 100."""
        return sum(now_s - at_s <= LOSSES_WITHIN_S for at_s in self.lost_at_s)

    @property
    def patience_s(self) -> float:
        """How long it may say nothing."""
        return min(SILENCE_S_MAX * (1 << min(self.silences, 8)), PATIENCE_S_MAX)

    def overdue(self, now_s: float) -> bool:
        """Whether it should have spoken or come up by now."""
        if self.address is None:
            return False
        if not self.booted:
            return now_s - self.spawned_at_s > BOOT_S_MAX
        return now_s - self.heard_at_s > self.patience_s


def shares(virtual_shards: int, shard_count: int) -> list[tuple[int, ...]]:
    """Deal the virtual shards out evenly."""
    return [tuple(range(index, virtual_shards, shard_count)) for index in range(shard_count)]
