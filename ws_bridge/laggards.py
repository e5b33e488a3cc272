"""Clients that have something waiting: looked at every second, and ended when they have not caught up in time.

A client may stay below the limit in bytes and still take nothing: a dead phone, or one that is fed through a straw.
"""

from __future__ import annotations

from typing import Protocol


class Laggard(Protocol):
    """A connection with a backlog; must be hashable by identity."""

    @property
    def backlog_bytes(self) -> int:
        """What the client has not taken yet."""
        ...

    def too_slow(self) -> None:
        """End it."""
        ...


class Laggards:
    """Who is behind, and since when; nobody is watched who has caught up."""

    def __init__(self, behind_max_s: float) -> None:
        self._behind_max_s = behind_max_s
        self._since_s: dict[Laggard, float] = {}
        self._high_water_bytes = 0

    def watch(self, laggard: Laggard, backlog_bytes: int, now_s: float) -> None:
        """Something was left after a write."""
        self._since_s.setdefault(laggard, now_s)
        self._high_water_bytes = max(self._high_water_bytes, backlog_bytes)

    def forget(self, laggard: Laggard) -> None:
        """The connection is gone."""
        self._since_s.pop(laggard, None)

    def look(self, now_s: float) -> int:
        """End whoever has been behind for too long; the most that one had waiting since the last look."""
        for laggard, since_s in tuple(self._since_s.items()):
            if not laggard.backlog_bytes:
                self.forget(laggard)
            elif now_s - since_s >= self._behind_max_s:
                self.forget(laggard)
                laggard.too_slow()
        high_water_bytes, self._high_water_bytes = self._high_water_bytes, 0
        return high_water_bytes
