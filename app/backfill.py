"""`zmart index backfill`: reads the program's history from a slot on, beside an indexer that runs or before one does.

Its place is a cursor of its own, kept with what it has written, so a killed one goes on where it was. What is there
already is not read again. Markets hear of what was found from the indexer, once one runs.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from app.clock import monotonic_s
from app.config import Settings
from app.wiring_chain import chain_reader
from chain.accounts import ChainAccounts
from chain.client import ChainReader
from chain.history import ChainHistory
from domain.indexed import Cursor
from indexer.fetcher import TransactionReader
from indexer.filler import GapFiller
from indexer.preparing import Preparer
from indexer.recorder import Recorder
from storage.database import Database
from storage.index_store import PostgresIndexStore
from storage.projections import Projections

Told = Callable[[int, int], None]


async def backfill(settings: Settings, database: Database, from_slot: int, told: Told) -> tuple[int, Cursor]:
    """Read everything from a slot up to now; how many transactions were missing, and where it ends.

    Raises `ChainUnavailable`, `RpcRefused` or `StorageUnavailable`; what was read by then is kept.
    """
    reader = chain_reader(settings)
    try:
        store = PostgresIndexStore(database, f"{settings.program_id}#from:{from_slot}")
        filler, missing = _filler(settings, store, reader, from_slot, told), 0
        while True:
            missing += await filler.sweep()
            cursor = await store.cursor()
            if cursor is not None and cursor.slot >= cursor.finalized_slot:  # else it was a long history's old end
                return missing, cursor
    finally:
        await reader.close()


def _filler(
    settings: Settings, store: PostgresIndexStore, reader: ChainReader, from_slot: int, told: Told
) -> GapFiller:
    history, accounts = ChainHistory(reader.rpc, settings.program_id), ChainAccounts(reader.rpc, reader.program)
    return GapFiller(
        history,
        store,
        TransactionReader(history),
        Preparer(settings.program_id, accounts, store),
        Recorder(store, Projections(), asyncio.Event()),
        from_slot,
        told,
    )


class Bar:
    """A progress bar with the rate; on something that is no terminal a line now and then."""

    def __init__(self) -> None:
        columns = (TextColumn("transactions"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[rate]}/s"))
        self._progress = Progress(*columns, TimeRemainingColumn(), console=Console(stderr=True))
        self._task = self._progress.add_task("transactions", total=None, rate="-")
        self._began_s = monotonic_s()

    def __enter__(self) -> Bar:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def told(self, done: int, total: int) -> None:
        """So many of so many are read."""
        rate = done / max(monotonic_s() - self._began_s, 1e-3)
        self._progress.update(self._task, completed=done, total=total, rate=f"{rate:,.0f}")
