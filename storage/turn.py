"""One user of a session at a time."""

import asyncio
from typing import Any, Self

from storage.outages import JournalLost

TURN_TIMEOUT_S = 10.0
"""Longer than a transaction may be idle (5 s) and a statement may take (5 s): who waits longer waits for the dead."""


class Turn:
    """A lock for the tasks that share one database session.

    Raises JournalLost when the turn does not come, and RuntimeError when a task that has the turn asks again: it would
    wait for itself, as with a plain journal call inside a transaction.
    """

    def __init__(self, timeout_s: float = TURN_TIMEOUT_S) -> None:
        self._lock = asyncio.Lock()
        self._timeout_s = timeout_s
        self._holder: asyncio.Task[Any] | None = None

    async def __aenter__(self) -> Self:
        task = asyncio.current_task()
        if task is self._holder:
            raise RuntimeError("this task has an open transaction on the session that it asks for")
        try:
            async with asyncio.timeout(self._timeout_s):
                await self._lock.acquire()
        except TimeoutError as error:
            raise JournalLost("wait for the session", f"still in use after {self._timeout_s} s") from error
        self._holder = task
        return self

    async def __aexit__(self, *_: object) -> None:
        self._holder = None
        self._lock.release()
