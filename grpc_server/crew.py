"""A few workers for many things that each take a while: no task per thing, no more at once than others can take."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import TypeVar

T = TypeVar("T")


async def work_through(things: Iterable[T], work: Callable[[T], Awaitable[None]], workers: int) -> None:
    """Do `work` with each thing, in order, at most `workers` at once; the first exception ends it all.

    Being cancelled leaves the things that were not begun undone, and cancels those under way.
    """
    left = iter(things)

    async def worker() -> None:
        for thing in left:
            await work(thing)

    async with asyncio.TaskGroup() as tasks:
        for _ in range(workers):
            tasks.create_task(worker())
