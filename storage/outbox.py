"""What waits to be told, for the notifier that carries it on."""

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

from storage.database import Database
from storage.news import News

CHANNEL = "zmart_outbox"
KEPT_PUBLISHED_S = 3600
"""Published rows stay this long, for people who ask what was sent."""
PRUNED_AT_ONCE_MAX = 1000


class OutboxRow(NamedTuple):
    """One numbered message as it was committed with the state it tells of (decisions F1); `unpublished`'s columns."""

    id: int
    channel: str
    seq: int
    type: str
    payload_json: str
    created_at: datetime
    epoch: str
    votes_seq: int | None
    """Its number in the market's votes channel, if it is told there as well."""


class OutboxReader:
    """Reads and marks rows through the pool, and listens on a connection of its own.

    Every call raises StorageUnavailable (an OSError). Ids of different shards may become visible out of order; within
    a channel they are in order, and nothing is skipped, because rows are chosen by not being published.
    """

    def __init__(self, database: Database, database_url: str) -> None:
        self._database = database
        self._news = News(database_url, CHANNEL, "zmart-notifier")

    async def unpublished(self, limit: int) -> Sequence[OutboxRow]:
        """The oldest rows not yet marked, in id order."""
        return [OutboxRow._make(row) for row in await self._database.fetch("unpublished", limit)]

    async def mark_published(self, ids: Sequence[int]) -> None:
        """These rows are in the stream; marking twice is harmless."""
        await self._database.fetch("mark_published", [str(row_id) for row_id in ids])

    async def prune(self, older_than_s: int = KEPT_PUBLISHED_S, limit: int = PRUNED_AT_ONCE_MAX) -> int:
        """Delete up to `limit` rows that were published longer ago than that; returns how many went."""
        return len(await self._database.fetch("prune_published", older_than_s, limit))

    async def wait(self, timeout_s: float) -> None:
        """Return when there may be new rows, or after `timeout_s`; a hint, and safe to cancel.

        Returns at once after (re)connecting, for what was announced while nobody listened.
        """
        await self._news.wait(timeout_s)

    async def close(self) -> None:
        """Stop listening."""
        await self._news.close()
