"""What markets have told, in memory: the twin of storage's reads of the feed, for servers without a database."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from domain.deadlines import Deadline
from domain.feed import FeedNews, ToldChange
from domain.ids import MarketId
from domain.market import Market
from tests.support.grpc_events import START_S


class ToldRows:
    """Changes that the test puts, each with the market's next number."""

    def __init__(self, markets: dict[MarketId, Market], deadline: Deadline) -> None:
        self.epoch = "a history"
        self.rows: list[ToldChange] = []
        self.outage: Exception | None = None
        self._markets = markets
        self._deadline = deadline
        self._news = asyncio.Event()

    def put(self, market_id: MarketId, **payload: Any) -> None:
        """Tell a change, together with the state it tells of."""
        market = self._markets[market_id]
        self._markets[market_id] = replace(market, market_seq=market.market_seq + 1)
        told_at = datetime.fromtimestamp(START_S, UTC)
        self.rows.append(ToldChange(market_id, market.market_seq + 1, "VOTE_UPDATE", payload, told_at))
        self._news.set()

    async def now(self, market_id: MarketId) -> tuple[str, Market, Deadline | None] | None:
        self._answers()
        market = self._markets.get(market_id)
        return None if market is None else (self.epoch, market, self._deadline)

    async def since(self, seqs: Mapping[MarketId, int], limit_each: int) -> FeedNews:
        self._answers()
        found: list[ToldChange] = []
        for market_id, seq in seqs.items():
            found += [row for row in self.rows if row.market_id == market_id and row.seq > seq][:limit_each]
        return FeedNews(self.epoch, tuple(found))

    async def wait(self, timeout_s: float) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await self._news.wait()
        self._news.clear()

    def _answers(self) -> None:
        if self.outage is not None:
            raise self.outage
