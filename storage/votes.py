"""Votes as they are stored, for whoever lists them."""

from collections.abc import Sequence

from domain.ids import MarketId
from domain.tally import VoteType
from domain.votes import StoredVote
from storage import vote_rows
from storage.database import Database

PAGE_MAX = 1000
"""Rows of one answer; the API's own limit is lower."""
NEWEST = (2**63 - 1, "ffffffff-ffff-ffff-ffff-ffffffffffff")
"""Comes before every vote, so that the first page is found by the same walk as the others."""


class VoteReads:
    """Reads through the pool; every call raises StorageUnavailable."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def list(
        self, market_id: MarketId, vote_type: VoteType | None, after: tuple[int, str] | None, limit: int
    ) -> Sequence[StoredVote]:
        """Up to `limit` votes of a market right after (market_version, vote_id), newest first, of one type or both."""
        version, vote_id = after or NEWEST
        wanted = (market_id, vote_type.value if vote_type else None, version, vote_id, min(limit, PAGE_MAX))
        return [vote_rows.stored_vote_of(row) for row in await self._database.fetch("list_votes", *wanted)]
