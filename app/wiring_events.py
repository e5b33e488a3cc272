"""What the indexer keeps, for the gRPC server: its events, its positions, and the way to its reconciliation."""

from __future__ import annotations

from collections.abc import Sequence

import structlog

from app.retold import retold
from chain.decoder import EVENT_NAMES
from domain.discrepancies import DiscrepancyPlace, RunResult, StoredDiscrepancy
from domain.event_listing import EventFilter, EventMatch, EventPlace, IndexedEvent
from domain.ids import MarketId, Wallet
from domain.observed import ObservedPosition
from grpc_server import BookUnavailable, Positions
from storage.event_reads import EventReads
from storage.outages import StorageUnavailable
from storage.positions import PositionTable
from storage.reconciliations import Reconciliations

UNDECODABLE = "Undecodable"
EVENT_TYPES = (*EVENT_NAMES, UNDECODABLE)
"""All names that a stored event can have (T36)."""

_log = structlog.get_logger(__name__)


class Events:
    """Adapts storage's reads of events to the server's port."""

    def __init__(self, reads: EventReads) -> None:
        self._reads = reads

    async def list(
        self, wanted: EventFilter, after: EventPlace | None, limit: int, offset: int
    ) -> Sequence[IndexedEvent]:
        """A page of events."""
        with retold(BookUnavailable):
            return await self._reads.list(wanted, after, limit, offset)

    async def count(self, wanted: EventFilter) -> int:
        """How many there are."""
        with retold(BookUnavailable):
            return await self._reads.count(wanted)

    async def search(self, match: EventMatch, after: EventPlace | None, limit: int) -> Sequence[IndexedEvent]:
        """A page of what fits."""
        with retold(BookUnavailable):
            return await self._reads.search(match, after, limit)

    async def count_found(self, match: EventMatch) -> int:
        """How many fit."""
        with retold(BookUnavailable):
            return await self._reads.count_found(match)


class ReconciliationRows:
    """Adapts the rows by which the indexer is asked to the server's port."""

    def __init__(self, rows: Reconciliations) -> None:
        self._rows = rows

    async def list(
        self, market_id: MarketId | None, after: DiscrepancyPlace | None, limit: int
    ) -> Sequence[StoredDiscrepancy]:
        """A page of discrepancies."""
        with retold(BookUnavailable):
            return await self._rows.list(market_id, after, limit)

    async def ask(self, market_id: MarketId | None) -> str:
        """Ask for a run."""
        with retold(BookUnavailable):
            return await self._rows.ask(market_id)

    async def result(self, run_id: str) -> RunResult | None:
        """How it ended."""
        with retold(BookUnavailable):
            return await self._rows.result(run_id)


class IndexedPositions:
    """Positions from the indexer's table where it can answer for the slot, else from the chain (T8).

    The table's answer is as good as a read of the chain: see `PositionTable.known`. Without the database the chain is
    asked, and the vote goes on.
    """

    def __init__(self, table: PositionTable, chain: Positions) -> None:
        self._table = table
        self._chain = chain

    async def position(self, market_id: MarketId, wallet: Wallet, min_slot: int) -> ObservedPosition | None:
        """What the wallet holds as of `min_slot` or later."""
        known = await self._known(market_id, wallet, min_slot)
        return known or await self._chain.position(market_id, wallet, min_slot)

    async def _known(self, market_id: MarketId, wallet: Wallet, min_slot: int) -> ObservedPosition | None:
        try:
            row = await self._table.known(market_id, wallet, min_slot)
        except StorageUnavailable as outage:
            _log.warning("positions.not_read", fault=str(outage))
            return None
        return row.observed if row is not None else None
