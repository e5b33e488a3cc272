"""Whether the indexer gets on: it beats only while none of its steps has hung for longer than any step takes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

BEAT_S = 2.0
"""Between two beats; people are told after a silence of 30 s."""
STUCK_S = 120.0
"""Longer than a step can take with every wait at its end: 12 s for each statement, 30 s for each question to a node."""
LONG = frozenset({"sweep", "reconciliation"})
"""Steps that may walk a long history, or every market."""


class Pulse:
    """Remembers which steps are under way and since when."""

    def __init__(self, now_s: Callable[[], float]) -> None:
        self._now_s = now_s
        self._began_s: dict[int, tuple[str, float]] = {}
        self._count = 0

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Around one step."""
        self._count += 1
        number = self._count
        self._began_s[number] = (name, self._now_s())
        try:
            yield
        finally:
            del self._began_s[number]

    def stuck(self) -> list[str]:
        """The names of steps that hang."""
        before_s = self._now_s() - STUCK_S
        return sorted(name for name, at_s in self._began_s.values() if at_s < before_s and name not in LONG)
