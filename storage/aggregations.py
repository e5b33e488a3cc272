"""Aggregations as they are recorded, for whoever lists them."""

from collections.abc import Sequence

from domain.ids import MarketId
from domain.votelog import Aggregation
from storage import vote_rows
from storage.database import Database

PAGE_MAX = 1000
"""Rows of one answer; the API's own limit is lower."""
NEWEST = 2**63 - 1
"""Comes before every aggregation."""


class AggregationReads:
    """Reads through the pool; every call raises StorageUnavailable."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def list(
        self, market_id: MarketId | None, status: str | None, before: int | None, limit: int
    ) -> Sequence[Aggregation]:
        """Up to `limit` aggregations with a smaller row than `before`, newest first; of all markets, of any status."""
        wanted = (NEWEST if before is None else before, market_id, status, min(limit, PAGE_MAX))
        return [vote_rows.aggregation_of(row) for row in await self._database.fetch("list_aggregations", *wanted)]
