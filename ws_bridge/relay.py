"""The notifier: carries the outbox into the Redis stream, never on the path of a commit (architecture section 7)."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from datetime import datetime
from functools import lru_cache
from typing import Any

from redis.exceptions import RedisError

from ws_bridge.backoff import Backoff, connect, heed_cancellation
from ws_bridge.frames import rfc3339
from ws_bridge.ports import Outbox, OutboxRow, Spans, Unspanned

FEED_STREAM = "zmart:feed"
STREAM_ENTRIES_MAX = 100_000
"""About 60 MB of entries; the server trims whole nodes, so a little more may be there."""
ROWS_AT_ONCE_MAX = 500
PACE_S = 0.05
"""The pause after a turn that carried all there was: what comes meanwhile shares the next one, as dear as the last. The
first message after a silence does not wait."""
WAIT_MAX_S = 1.0
ANSWER_TIMEOUT_S = 5.0

COMMITS_AT_ONCE = 64
"""All rows of a commit have its time, which is written once while so few others come in between."""

FIELDS = ("channel", "epoch", "seq", "type", "timestamp", "payload", "votes_seq")
TRACEPARENT = "traceparent"
"""A further field of the first of entries that are published inside of a span."""
_ADD = "redis.call('XADD', KEYS[1], 'MAXLEN', '~', ARGV[1], '*', " + ", ".join(
    f"'{name}', v[{place}]" for place, name in enumerate(FIELDS, start=1)
)
ADD_ALL = f"""
local traceparent = ARGV[3]
for _, v in ipairs(cjson.decode(ARGV[2])) do
    if traceparent then
        {_ADD}, '{TRACEPARENT}', traceparent)
        traceparent = nil
    else
        {_ADD})
    end
end
"""
"""One argument for all entries: as commands of their own, the library packs 17 words for each in Python."""

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
        spans: Spans | None = None,
    ) -> None:
        self._spans = spans or Unspanned()
        self._outbox, self._stream, self._on_carried = outbox, stream, on_carried
        self._redis = connect(redis_url, ANSWER_TIMEOUT_S)
        self._add_all: Callable[..., Awaitable[Any]] = self._redis.register_script(ADD_ALL)
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
            carried = await self._carry()
            if not carried:
                await _unless(stop, self._outbox.wait(WAIT_MAX_S))
            elif carried < ROWS_AT_ONCE_MAX:
                await _paused(stop, PACE_S)
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
            with self._spans.work("publish", {"zmart.messages": len(rows), "zmart.first_channel": rows[0].channel}):
                await self._publish(rows)
        return len(rows)

    async def _publish(self, rows: Sequence[OutboxRow]) -> None:
        await self._add(rows)
        if self._on_carried is not None:
            self._on_carried(rows)
        await self._outbox.mark_published([row.id for row in rows])

    async def _add(self, rows: Sequence[OutboxRow]) -> None:
        """All rows or none, in order: a script that finds memory at its start is carried out whole."""
        entries = [entry_values(row) for row in rows]
        traceparent = self._spans.traceparent()
        told = (traceparent,) if traceparent is not None else ()
        await self._add_all([self._stream], [STREAM_ENTRIES_MAX, json.dumps(entries), *told])


def entry_values(row: OutboxRow) -> tuple[str, ...]:
    """A row as the values of a stream entry, in the order of `FIELDS`."""
    votes_seq = "" if row.votes_seq is None else str(row.votes_seq)
    return row.channel, row.epoch, str(row.seq), row.type, _told_at(row.created_at), row.payload_json, votes_seq


@lru_cache(maxsize=COMMITS_AT_ONCE)
def _told_at(created_at: datetime) -> str:
    return rfc3339(created_at.timestamp())


async def _paused(stop: asyncio.Event, pause_s: float) -> None:
    """Wait that long, or for `stop` if that comes first: `_unless` without its two tasks."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(pause_s):
            await stop.wait()


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
