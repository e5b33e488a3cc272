"""What was told about markets, for whoever watches some of them."""

import json
from collections.abc import Mapping

from domain.deadlines import Deadline
from domain.feed import FeedNews, ToldChange
from domain.ids import MarketId
from domain.market import Market
from storage import codec
from storage.database import Database
from storage.news import News
from storage.outbox import CHANNEL


class FeedReads:
    """Reads through the pool, and listens on a connection of its own; every call raises StorageUnavailable."""

    def __init__(self, database: Database, database_url: str) -> None:
        self._database = database
        self._news = News(database_url, CHANNEL, "zmart-watch")

    async def now(self, market_id: MarketId) -> tuple[str, Market, Deadline | None] | None:
        """The stored history's name, and a market that has told `market_seq` of it; None when it is not known here."""
        rows = await self._database.fetch("snapshot", market_id)
        return (rows[0]["epoch"], codec.market_of(rows[0]), codec.deadline_of(rows[0])) if rows else None

    async def since(self, seqs: Mapping[MarketId, int], limit_each: int) -> FeedNews:
        """What each market (at least one) told after its number, in order, up to `limit_each` changes of each.

        Within a market nothing is skipped, unless it was told more than an hour ago and is forgotten.
        """
        places = codec.columns([(market_id, str(seq)) for market_id, seq in seqs.items()])
        rows = await self._database.fetch("market_changes", *places, limit_each)
        told = tuple(_change(row) for row in rows if row["seq"] is not None)
        return FeedNews(rows[0]["epoch"], told)

    async def wait(self, timeout_s: float) -> None:
        """Return when there may be changes, or after `timeout_s`; a hint, and safe to cancel."""
        await self._news.wait(timeout_s)

    async def close(self) -> None:
        """Stop listening."""
        await self._news.close()


def _change(row: codec.Row) -> ToldChange:
    place = MarketId(row["market_id"]), row["seq"], row["type"]
    return ToldChange(*place, json.loads(row["payload"]), row["created_at"])
