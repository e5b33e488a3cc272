"""An event loop in which waiting takes no time: the clock jumps to whatever is due next.

With no sockets in play everything that happens depends on the program and its seeds alone.
"""

import asyncio
import selectors
from typing import Any

RESOLUTION_S = 1e-6
"""The loop runs what is due within this. After half a year a float does not tell the usual 1e-9 s apart any more, and
what is due right now would never run."""


class NothingLeftToHappen(AssertionError):
    """Every task waits and nothing is due: a real program would hang here."""


class _Instantly(selectors.SelectSelector):
    def __init__(self) -> None:
        super().__init__()
        self.now_s = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready: list[tuple[selectors.SelectorKey, int]] = super().select(0)
        if not ready and timeout is None:
            raise NothingLeftToHappen
        self.now_s += timeout or 0.0
        return ready


class VirtualLoop(asyncio.SelectorEventLoop):
    """A loop whose `time()` starts at 0 and moves only when there is nothing to do."""

    def __init__(self) -> None:
        self._instantly = _Instantly()
        super().__init__(self._instantly)
        self._clock_resolution = RESOLUTION_S

    def time(self) -> float:
        return self._instantly.now_s


def run_virtually(main: Any) -> Any:
    """`asyncio.run` in virtual time."""
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(main)
