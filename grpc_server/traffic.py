"""How many calls this process answered in the last minute, and how many of them it owes an apology."""

from __future__ import annotations

from collections.abc import Callable

WINDOW_S = 60
OUR_FAULT = frozenset({"UNKNOWN", "INTERNAL", "UNAVAILABLE", "DATA_LOSS", "DEADLINE_EXCEEDED"})
"""Statuses that say something about us; the others say something about the request."""


class Traffic:
    """Counts by the second in a ring of 60, so that it costs the same whatever the load."""

    def __init__(self, monotonic_s: Callable[[], float]) -> None:
        self._monotonic_s = monotonic_s
        self._seconds = [-WINDOW_S] * WINDOW_S
        self._calls = [0] * WINDOW_S
        self._faults = [0] * WINDOW_S

    def note(self, status: str) -> None:
        """A call ended with this status."""
        second = int(self._monotonic_s())
        place = second % WINDOW_S
        if self._seconds[place] != second:
            self._seconds[place], self._calls[place], self._faults[place] = second, 0, 0
        self._calls[place] += 1
        self._faults[place] += status in OUR_FAULT

    def last_minute(self) -> tuple[int, float]:
        """Calls that ended within the last 60 s, and the share of them that was our fault, 0 to 1."""
        begun = int(self._monotonic_s()) - WINDOW_S
        recent = [place for place in range(WINDOW_S) if self._seconds[place] > begun]
        calls = sum(self._calls[place] for place in recent)
        return calls, sum(self._faults[place] for place in recent) / calls if calls else 0.0
