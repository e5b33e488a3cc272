"""The Redis stream as a `Feed`: read whole, by one reader a process, from a position taken before the first client.

The last entry that was read is the anchor: as long as it is still in the stream, nothing after it can be missing, for a
stream is trimmed from its old end and a flushed one never gets the same id again. The anchor is looked up after every
read, also after an empty one, so that a loss is found within a second even when no message follows.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import cast

import orjson
from redis.exceptions import RedisError

from ws_bridge.backoff import Backoff, connect, heed_cancellation
from ws_bridge.ports import Batch, FeedEntry
from ws_bridge.relay import FEED_STREAM, TRACEPARENT

ENTRIES_AT_ONCE_MAX = 500
EARLIER_ENTRIES_MAX = 5_000
"""About 3 MB; read once, so that clients of a bridge that has ended resume at another one."""
BLOCK_MS = 1_000
ANSWER_TIMEOUT_S = 5.0
BEGINNING = "0-0"

Entries = Sequence[tuple[str, Mapping[str, str]]]

log = logging.getLogger(__name__)


class RedisFeed:
    """Reads the stream from now on and tells when something may be missing.

    Connection lost: it waits with backoff, reads on from its last id, and says `history_lost` if the anchor is gone.
    """

    def __init__(self, redis_url: str, stream: str = FEED_STREAM, *, is_traced: bool = False) -> None:
        self._is_traced = is_traced
        self._redis = connect(redis_url, ANSWER_TIMEOUT_S)
        self._stream = stream
        self._backoff = Backoff()
        self._last_id: str | None = None
        self._anchored = False
        self._connected = False

    @property
    def connected(self) -> bool:
        """Whether the last exchange with Redis succeeded."""
        return self._connected

    async def open(self) -> Sequence[FeedEntry]:
        """Take the start position; the entries before it are for clients that come from another process."""
        try:
            await self._take_position()
            earlier = await self._earlier()
        except (RedisError, OSError) as error:
            self._lose_connection(error)
            return ()
        self._connected = True
        return earlier

    async def _earlier(self) -> Sequence[FeedEntry]:
        if not self._anchored:
            return ()
        newest = cast(Entries, await self._redis.xrevrange(self._stream, str(self._last_id), count=EARLIER_ENTRIES_MAX))
        return _parse(list(reversed(newest)))

    async def next_batch(self) -> Batch:
        """The next entries, at the latest after one blocking read of a second."""
        while True:
            try:
                batch = await self._read()
                heed_cancellation()
            except (RedisError, OSError) as error:
                heed_cancellation()
                self._lose_connection(error)
                await self._backoff.pause()
            else:
                self._connected = True
                self._backoff.reset()
                return batch

    async def close(self) -> None:
        """Close the connections."""
        await self._redis.aclose()

    async def _read(self) -> Batch:
        if self._last_id is None:
            await self._take_position()
            return Batch(history_lost=True)
        entries, anchor = await self._ask(self._last_id)
        lost = self._anchored and not anchor
        if lost:
            log.warning("the feed's history is gone; every subscriber starts over from a snapshot")
        if entries:
            self._last_id, self._anchored = entries[-1][0], True
        elif lost:
            await self._take_position()
        published_by = _traceparents(entries) if self._is_traced else ()
        return Batch(_parse(entries), lost, published_by)

    async def _ask(self, last_id: str) -> tuple[Entries, Entries]:
        """What comes after an entry, and then that entry, if it is still there; one exchange."""
        async with self._redis.pipeline(transaction=False) as pipe:
            pipe.execute_command(
                "XREAD", "COUNT", ENTRIES_AT_ONCE_MAX, "BLOCK", BLOCK_MS, "STREAMS", self._stream, last_id
            )
            pipe.xrange(self._stream, last_id, last_id, 1)
            answer, anchor = await pipe.execute()
        return _entries(answer), anchor

    async def _take_position(self) -> None:
        """Stand behind the newest entry; without any, there is no anchor until the first one comes."""
        newest = cast(Entries, await self._redis.xrevrange(self._stream, count=1))
        self._last_id, self._anchored = (newest[0][0], True) if newest else (BEGINNING, False)

    def _lose_connection(self, error: Exception) -> None:
        if self._connected:
            log.warning("the feed is out of reach: %s", error)
        self._connected = False
        if not self._anchored:
            self._last_id = None  # nothing can prove that nothing was missed


def _entries(answer: object) -> Entries:
    """XREAD's answer in RESP2 is [[stream, entries]]; the library's type names every shape it ever had."""
    return cast("list[tuple[str, Entries]]", answer)[0][1] if answer else ()


def _parse(entries: Entries) -> tuple[FeedEntry, ...]:
    return tuple(entry for entry_id, fields in entries if (entry := _entry(entry_id, fields)) is not None)


def _traceparents(entries: Entries) -> tuple[str, ...]:
    return tuple(fields[TRACEPARENT] for _, fields in entries if TRACEPARENT in fields)


def _entry(entry_id: str, fields: Mapping[str, str]) -> FeedEntry | None:
    """A stream entry as a message; None for one that is not ours.

    If it was, its channels show a gap and start over.
    """
    try:
        if not isinstance(orjson.loads(fields["payload"]), dict):
            raise ValueError("no JSON object")
        where = (fields["channel"], fields["epoch"], int(fields["seq"]))
        votes_seq = fields.get("votes_seq")
        what = (fields["type"], fields["timestamp"], fields["payload"])
        return FeedEntry(*where, *what, int(votes_seq) if votes_seq else None)
    except (KeyError, ValueError) as error:
        log.error("entry %s of the feed cannot be read: %s", entry_id, type(error).__name__)
        return None
