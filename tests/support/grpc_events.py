"""Twins of what the indexer keeps, in memory, for a gRPC server of a test."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime

from domain.discrepancies import DiscrepancyPlace, RunResult, StoredDiscrepancy
from domain.event_listing import EventFilter, EventMatch, EventPlace, IndexedEvent
from domain.ids import MarketId

START_S = 1_800_000_000
EVENT_TYPES = ("MarketCreated", "SharesBought", "SharesSold", "ProposalVoteSubmitted", "Undecodable")


class EventRows:
    """The stored events, as storage lists them."""

    def __init__(self) -> None:
        self.rows: list[IndexedEvent] = []
        self.outage: Exception | None = None

    def put(self, slot: int, event_type: str, market_id: MarketId | None, **data: object) -> IndexedEvent:
        """An event of a transaction of its own, a second after the one of the slot before."""
        place = EventPlace(slot, len(self.rows), f"{slot}s{len(self.rows)}", 0)
        at = datetime.fromtimestamp(START_S + slot, UTC)
        event = IndexedEvent(place, event_type, market_id, None, data, at, "confirmed")
        self.rows.append(event)
        return event

    async def list(
        self, wanted: EventFilter, after: EventPlace | None, limit: int, offset: int
    ) -> Sequence[IndexedEvent]:
        found = self._newest_first(row for row in self.rows if _is_wanted(row, wanted))
        return [row for row in found if after is None or row.place < after][offset : offset + limit]

    async def count(self, wanted: EventFilter) -> int:
        return sum(_is_wanted(row, wanted) for row in self.rows)

    async def search(self, match: EventMatch, after: EventPlace | None, limit: int) -> Sequence[IndexedEvent]:
        found = self._newest_first(row for row in self.rows if _fits(row, match))
        return [row for row in found if after is None or row.place < after][:limit]

    async def count_found(self, match: EventMatch) -> int:
        return sum(_fits(row, match) for row in self.rows)

    def _newest_first(self, rows: Iterable[IndexedEvent]) -> Sequence[IndexedEvent]:
        if self.outage is not None:
            raise self.outage
        return sorted(rows, key=lambda row: row.place, reverse=True)


def _is_wanted(row: IndexedEvent, wanted: EventFilter) -> bool:
    return (
        wanted.market_id in (None, row.market_id)
        and wanted.event_type in (None, row.event_type)
        and (wanted.since is None or row.timestamp >= wanted.since)
        and (wanted.until is None or row.timestamp < wanted.until)
    )


def _fits(row: IndexedEvent, match: EventMatch) -> bool:
    names = (row.market_id or "", row.place.transaction_signature)
    return row.event_type in match.event_types or any(name.startswith(match.prefix) for name in names)


class Desk:
    """Where the indexer is asked for runs; `answer` is how the next one ends."""

    def __init__(self) -> None:
        self.rows: list[StoredDiscrepancy] = []
        self.asked: list[MarketId | None] = []
        self.answer: RunResult | None = RunResult()

    async def list(
        self, market_id: MarketId | None, after: DiscrepancyPlace | None, limit: int
    ) -> Sequence[StoredDiscrepancy]:
        found = [row for row in self.rows if market_id in (None, row.market_id)]
        found.sort(key=lambda row: row.place, reverse=True)
        return [row for row in found if after is None or row.place < after][:limit]

    async def ask(self, market_id: MarketId | None) -> str:
        self.asked.append(market_id)
        return "the run"

    async def result(self, run_id: str) -> RunResult | None:
        assert run_id == "the run"
        return self.answer
