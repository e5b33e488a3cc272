"""The notifier: carries the outbox into the Redis stream, never on the path of a commit (architecture section 7)."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

from redis.exceptions import RedisError
from redis.typing import EncodableT, FieldT

from ws_bridge.backoff import Backoff, connect, heed_cancellation
from ws_bridge.frames import rfc3339
from ws_bridge.ports import Outbox, OutboxRow

FEED_STREAM = "zmart:feed"
STREAM_ENTRIES_MAX = 100_000
"""About 60 MB of entries; the server trims whole nodes, so a little more may be there."""
ROWS_AT_ONCE_MAX = 500
WAIT_MAX_S = 1.0
ANSWER_TIMEOUT_S = 5.0

log = logging.getLogger(__name__)


class Relay:
    """Moves rows from outbox to stream, in order and at least once.

    A crash between XADD and mark repeats rows; readers drop them by (channel, epoch, seq). While Redis is down the rows
    stay where they are. An outage of either side is waited out with backoff; any other error ends `run`. `on_carried`
    hears of rows once they are in the stream, so of some more than once; it must not wait.
    """

    def __init__(
        self,
        outbox: Outbox,
        redis_url: str,
        stream: str = FEED_STREAM,
        on_carried: Callable[[Sequence[OutboxRow]], None] | None = None,
    ) -> None:
        self._outbox, self._stream, self._on_carried = outbox, stream, on_carried
        self._redis = connect(redis_url, ANSWER_TIMEOUT_S)
        self._backoff = Backoff()
        self._stands_still = False

    async def run(self, stop: asyncio.Event) -> None:
        """Carry rows until `stop` is set; a batch that has begun is finished first."""
        try:
            while not stop.is_set():
                await self._turn(stop)
                heed_cancellation()
        finally:
            await self._redis.aclose()

    async def _turn(self, stop: asyncio.Event) -> None:
        try:
            if not await self._carry():
                await _unless(stop, self._outbox.wait(WAIT_MAX_S))
            self._backoff.reset()
            self._say(None)
        except (RedisError, OSError) as error:
            self._say(error)
            await _unless(stop, self._backoff.pause())

    def _say(self, error: Exception | None) -> None:
        """One line when it stops and one when it goes on, however often it was tried."""
        if error is not None and not self._stands_still:
            log.warning("the feed stands still, rows wait in the outbox: %s", error)
        if error is None and self._stands_still:
            log.info("the feed goes on")
        self._stands_still = error is not None

    async def _carry(self) -> int:
        """Move one batch: into the stream first, marked afterwards."""
        rows = await self._outbox.unpublished(ROWS_AT_ONCE_MAX)
        if rows:
            await self._add(rows)
            if self._on_carried is not None:
                self._on_carried(rows)
            await self._outbox.mark_published([row.id for row in rows])
        return len(rows)

    async def _add(self, rows: Sequence[OutboxRow]) -> None:
        """All rows or none: with some refused (memory full) and later ones taken, the order would be gone."""
        pipeline = self._redis.pipeline(transaction=True)
        for row in rows:
            pipeline.xadd(self._stream, entry_fields(row), maxlen=STREAM_ENTRIES_MAX, approximate=True)
        await pipeline.execute()


def entry_fields(row: OutboxRow) -> dict[FieldT, EncodableT]:
    """A row as the fields of a stream entry."""
    return {
        "channel": row.channel,
        "epoch": row.epoch,
        "seq": row.seq,
        "type": row.type,
        "timestamp": rfc3339(row.created_at.timestamp()),
        "payload": json.dumps(dict(row.payload), separators=(",", ":")),
    }


async def _unless(stop: asyncio.Event, pause: Coroutine[Any, Any, None]) -> None:
    """Wait for `pause`, or for `stop` if that comes first."""
    waiters = [asyncio.ensure_future(pause), asyncio.ensure_future(stop.wait())]
    try:
        await asyncio.wait(waiters, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for waiter in waiters:
            waiter.cancel()
        outcomes = await asyncio.gather(*waiters, return_exceptions=True)
    if isinstance(outcomes[0], Exception):
        raise outcomes[0]
