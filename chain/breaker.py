"""A circuit breaker for one dependency: closed, open, or half open with a single probe.

Pure but for the clock it is handed. Only outages count: a dependency that answers "no" is well (T71, T73).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

FAILURES_MAX = 5
"""Failures in a row that open it (decided for every dependency, T72)."""
OPEN_S = 60.0
"""How long it stays open before one request may try again."""


class BreakerOpen(Exception):
    """The dependency failed too often a moment ago, so nobody asked it; `wait_s` until a probe may."""

    def __init__(self, wait_s: float) -> None:
        super().__init__(f"not asked: it failed repeatedly, the next try is in {wait_s:.0f} s")
        self.wait_s = wait_s


class Breaker:
    """Counts failures in a row; any success forgets them."""

    def __init__(
        self,
        clock: Callable[[], float],
        outages: tuple[type[BaseException], ...],
        failures_max: int = FAILURES_MAX,
        open_s: float = OPEN_S,
        spacing_s: float = 0.0,
    ) -> None:
        """Failures less than `spacing_s` after one that was counted are the same one, told again."""
        self._clock = clock
        self._outages = outages
        self._failures_max = failures_max
        self._open_s = open_s
        self._spacing_s = spacing_s
        self._failures = 0
        self._failed_at = 0.0
        self._is_probing = False

    @property
    def is_open(self) -> bool:
        """Whether it has opened and no probe has succeeded since."""
        return self._failures >= self._failures_max

    @property
    def has_failed_lately(self) -> bool:
        """Whether the last request failed, not longer ago than a probe would wait."""
        return self._failures > 0 and self._clock() - self._failed_at < self._open_s

    @property
    def wait_s(self) -> float:
        """How long nobody may ask; 0 when a request may go out now. With a probe under way, until its answer."""
        if not self.is_open:
            return 0.0
        left_s = self._open_s - (self._clock() - self._failed_at)
        return max(left_s, 1.0) if self._is_probing else max(left_s, 0.0)

    @contextmanager
    def attempt(self) -> Iterator[None]:
        """Around one request; raises `BreakerOpen` at once when none may go out.

        A request that is cancelled says nothing about the dependency, so it neither opens nor closes the breaker.
        """
        if wait_s := self.wait_s:
            raise BreakerOpen(wait_s)
        is_probe = self._is_probing = self.is_open
        try:
            yield
        except self._outages:
            self._fail(is_probe)
            raise
        except Exception:
            self._failures = 0
            raise
        else:
            self._failures = 0
        finally:
            if is_probe:
                self._is_probing = False

    def _fail(self, is_probe: bool) -> None:
        if self.is_open and not is_probe:
            return  # a straggler that was asked before it opened must not keep it open for longer
        if self._failures > 0 and not is_probe and self._clock() - self._failed_at < self._spacing_s:
            return
        self._failures = min(self._failures + 1, self._failures_max)
        self._failed_at = self._clock()
