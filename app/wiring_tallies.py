"""How the tallies in Redis are kept level: written by the notifier, and again by whoever finds them missing."""

from __future__ import annotations

import asyncio

import structlog

from app.config import Settings
from domain.market import Market
from storage.database import Database
from storage.tallies import TallyReads
from storage.tally_cache import TallyCache
from storage.tally_projector import ProjectorSettings, TallyProjector

BESIDE_READS = ProjectorSettings(gather_s=0.5, read_max=256, sweep_s=None)
"""At most 256 markets are compared in half a second, 1 % of the server's time; the notifier sweeps."""

log = structlog.get_logger("tallies")


class TallyWatch:
    """Compares the tallies that a server reads from PostgreSQL with those in Redis, afterwards and beside it.

    Without a Redis in the settings it does nothing. A bug in it is logged and ends the comparing, not the server.
    """

    def __init__(self, settings: Settings, database: Database) -> None:
        self._cache = TallyCache(settings.redis_url) if settings.redis_url is not None else None
        self._projector: TallyProjector | None = None
        self._task: asyncio.Task[None] | None = None
        if self._cache is not None:
            self._projector = TallyProjector(TallyReads(database), self._cache, BESIDE_READS)
            self._task = asyncio.create_task(self._projector.run())
            self._task.add_done_callback(_log_bug)

    def was_read(self, market: Market) -> None:
        """Somebody read this market; takes a note and returns."""
        if self._projector is not None:
            self._projector.was_read(market)

    async def stop(self) -> None:
        """Stop comparing and disconnect."""
        if self._task is not None and self._cache is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
            await self._cache.close()


def _log_bug(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and (bug := task.exception()) is not None:
        log.error("tallies that are read are no longer compared", exc_info=bug)
