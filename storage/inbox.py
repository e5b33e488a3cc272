"""Bodies as they were pushed, kept before they are answered (T29); a sample of those that were refused.

What arrives while others wait for the disk is committed together, so that a slow disk makes batches larger and not a
queue longer: one commit for each body took 200 commits a second, which a disk that needs 20 ms for each does not do.
"""

import asyncio
import contextvars
from collections.abc import Sequence
from dataclasses import dataclass

from storage.bodies import packed
from storage.database import Database
from storage.index_codec import words
from storage.outages import StorageUnavailable

BATCHES_MAX = 3
"""Under way at once; what comes then waits for the first to end. A connection is left for samples in a pool of 4."""
BATCH_BYTES_MAX = 4 * 1024 * 1024
"""As stored, of one batch but for its last body; the others wait for the next. Of 22 KB each that is 190 bodies."""
SAMPLES_MAX = 100
"""Refused bodies that are kept, the newest."""
SAMPLE_BYTES_MAX = 64 * 1024
"""Of each; enough to see what it was."""


@dataclass(frozen=True, slots=True)
class _Waiting:
    """A body, the span that it came in, and in whose name it is stored."""

    stored: asyncio.Future[int]
    body: bytes
    traceparent: str | None
    context: contextvars.Context


class Inbox:
    """Raises StorageUnavailable; a body may then be stored all the same, and its repeat is harmless.

    Used within one event loop. Whoever gives up takes along what was not begun yet, so no more wait than callers.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._waiting: dict[asyncio.Future[int], _Waiting] = {}
        self._batches: set[asyncio.Task[None]] = set()

    async def put(self, body: bytes, traceparent: str | None = None) -> int:
        """Commit a body, with the span that it came in, and return its number."""
        stored: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._waiting[stored] = _Waiting(stored, packed(body), traceparent, contextvars.copy_context())
        self._begin()
        try:
            return await stored
        finally:
            self._waiting.pop(stored, None)

    async def keep_sample(self, body: bytes, why: str) -> None:
        """Keep the beginning of a body that was refused."""
        await self._database.fetch("keep_sample", body[:SAMPLE_BYTES_MAX], words(why), SAMPLES_MAX)

    def _begin(self) -> None:
        """Begin the next batch unless as many as may be are under way; its span is its first body's."""
        if not self._waiting or len(self._batches) >= BATCHES_MAX:
            return
        batch = self._next()
        task = asyncio.get_running_loop().create_task(self._store(batch), context=batch[0].context)
        self._batches.add(task)
        task.add_done_callback(self._ended)

    def _next(self) -> Sequence[_Waiting]:
        """Take what has waited longest, as much as one batch may be."""
        batch, size = list[_Waiting](), 0
        while self._waiting and size < BATCH_BYTES_MAX:
            each = self._waiting.pop(next(iter(self._waiting)))
            batch.append(each)
            size += len(each.body)
        return batch

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._batches.discard(task)
        self._begin()

    async def _store(self, batch: Sequence[_Waiting]) -> None:
        """Commit them and tell whoever still waits; what is no outage goes to the loop as well."""
        try:
            columns = [each.body for each in batch], [each.traceparent for each in batch]
            rows = await self._database.fetch("put_bodies", "webhook", *columns)
        except BaseException as error:
            for each in batch:
                if not each.stored.done():
                    each.stored.set_exception(error)
            if not isinstance(error, StorageUnavailable):
                raise
            return
        for each, row in zip(batch, rows, strict=True):
            if not each.stored.done():
                each.stored.set_result(int(row["id"]))
