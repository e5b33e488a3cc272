"""Events as they are stored, for whoever lists them."""

import json
from collections.abc import Sequence
from datetime import UTC, datetime

from domain.event_listing import NEWEST_PLACE, EventFilter, EventMatch, EventPlace, IndexedEvent
from storage import projected
from storage.database import Database

PAGE_MAX = 1001
"""Rows of one answer: the API's largest page, and one more that says that there is another."""
COUNTED_MAX = 10_000
"""How far a range of time is counted; the other lists are counted exactly, by counters."""
MARKETS_MAX = 100
"""Markets that one search looks into. Three letters fit about one of 50,000."""
_FIRST_DATE, _LAST_DATE = datetime(1970, 1, 1, tzinfo=UTC), datetime(9999, 1, 1, tzinfo=UTC)


class EventReads:
    """Reads through the pool; every call raises StorageUnavailable. Dropped events are never shown."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def list(
        self, wanted: EventFilter, after: EventPlace | None, limit: int, offset: int = 0
    ) -> Sequence[IndexedEvent]:
        """Up to `limit` events right after a place, newest first."""
        bounds = await self._bounds(wanted)
        if bounds is None:
            return []
        first, last = bounds
        place = after or NEWEST_PLACE
        if last is not None and place.block_slot > last:
            place = NEWEST_PLACE._replace(block_slot=last)
        rows = await self._database.fetch(
            "list_events", *place, *_conditions(wanted), first, min(limit, PAGE_MAX), offset
        )
        return [projected.event_of(row, json.loads) for row in rows]

    async def count(self, wanted: EventFilter) -> int:
        """How many there are; of a range of time no more than COUNTED_MAX + 1 are counted."""
        if not wanted.has_dates:
            rows = await self._database.fetch("count_listed_events", wanted.market_id, wanted.event_type)
            return int(rows[0]["count"])
        bounds = await self._bounds(wanted)
        if bounds is None:
            return 0
        first, last = bounds
        place = NEWEST_PLACE if last is None else NEWEST_PLACE._replace(block_slot=last)
        arguments = (*place, *_conditions(wanted), first, COUNTED_MAX + 1)
        return int((await self._database.fetch("count_matching_events", *arguments))[0]["count"])

    async def search(self, match: EventMatch, after: EventPlace | None, limit: int) -> Sequence[IndexedEvent]:
        """Up to `limit` events right after a place, newest first, whose market, signature or type fits."""
        markets = await self._markets(match.prefix)
        place = after or NEWEST_PLACE
        arguments = (*place, markets, list(match.event_types), match.prefix, min(limit, PAGE_MAX))
        return [projected.event_of(row, json.loads) for row in await self._database.fetch("search_events", *arguments)]

    async def count_found(self, match: EventMatch) -> int:
        """How many fit."""
        arguments = (await self._markets(match.prefix), list(match.event_types), match.prefix)
        return int((await self._database.fetch("count_found_events", *arguments))[0]["count"])

    async def _markets(self, prefix: str) -> Sequence[str]:
        rows = await self._database.fetch("markets_by_prefix", prefix, MARKETS_MAX)
        return [row["market_id"] for row in rows]

    async def _bounds(self, wanted: EventFilter) -> tuple[int | None, int | None] | None:
        """The slots of the range of time, None when it holds nothing; no bound where no time is given."""
        if not wanted.has_dates:
            return None, None
        arguments = (wanted.since or _FIRST_DATE, wanted.until or _LAST_DATE)
        (row,) = await self._database.fetch("slots_between", *arguments)
        return None if row["first"] is None or row["last"] is None else (row["first"], row["last"])


def _conditions(wanted: EventFilter) -> tuple[str | None, str | None, datetime | None, datetime | None]:
    return wanted.market_id, wanted.event_type, wanted.since, wanted.until
