"""The one way tests wait: on a fact, within a bound, never for a time."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

T = TypeVar("T")
POLL_S = 0.02
WAIT_S_MAX = 60.0
"""Far beyond what a loaded machine needs: a bound that is not reached costs nothing."""


class NeverHappened(AssertionError):
    """The fact did not come true within the bound; carries what was seen last."""

    def __init__(self, what: str, timeout_s: float, seen: object) -> None:
        super().__init__(f"{what} did not come true within {timeout_s} s; last seen: {seen!r}")


def _label(predicate: Callable[..., object]) -> str:
    return getattr(predicate, "__qualname__", repr(predicate))


def eventually(predicate: Callable[[], T], timeout_s: float = WAIT_S_MAX) -> T:
    """The first true value of `predicate`; raises NeverHappened. Exceptions of the predicate are the test's failure."""
    deadline = time.monotonic() + timeout_s
    while not (seen := predicate()):
        if time.monotonic() >= deadline:
            raise NeverHappened(_label(predicate), timeout_s, seen)
        time.sleep(POLL_S)
    return seen


async def eventually_async(predicate: Callable[[], Awaitable[T]], timeout_s: float = WAIT_S_MAX) -> T:
    """The same for a predicate that awaits; the loop goes on between looks."""
    deadline = time.monotonic() + timeout_s
    while not (seen := await predicate()):
        if time.monotonic() >= deadline:
            raise NeverHappened(_label(predicate), timeout_s, seen)
        await asyncio.sleep(POLL_S)
    return seen
