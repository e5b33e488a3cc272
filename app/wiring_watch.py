"""How watches are joined: storage's rows of the feed as the server's port."""

from __future__ import annotations

from collections.abc import Mapping

from app.retold import retold
from domain.deadlines import Deadline
from domain.feed import FeedNews
from domain.ids import MarketId
from domain.market import Market
from grpc_server import BookUnavailable
from storage.feed_reads import FeedReads


class MarketChanges:
    """Adapts storage's reads of the feed to the server's port."""

    def __init__(self, reads: FeedReads) -> None:
        self._reads = reads

    async def now(self, market_id: MarketId) -> tuple[str, Market, Deadline | None] | None:
        """One market and the history that it is of."""
        with retold(BookUnavailable):
            return await self._reads.now(market_id)

    async def since(self, seqs: Mapping[MarketId, int], limit_each: int) -> FeedNews:
        """What was told since."""
        with retold(BookUnavailable):
            return await self._reads.since(seqs, limit_each)

    async def wait(self, timeout_s: float) -> None:
        """Until there may be more."""
        with retold(BookUnavailable):
            await self._reads.wait(timeout_s)
