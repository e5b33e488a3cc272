"""Reads again what events have touched: a position is what its account shows, never a sum of events (CI 7.1)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from chain.account_batches import AccountBatches
from chain.accounts import ACCOUNTS_MAX
from chain.history import ChainHistory
from domain.positions import Holding, PositionRead


class PositionRows(Protocol):
    """The table of positions. Every method raises `OSError` when the database does not answer."""

    async def stale(self, limit: int, slot_max: int) -> Sequence[tuple[Holding, int]]:
        """Positions that events up to a slot have touched since they were read, each with that slot."""
        ...

    async def save(self, reads: Sequence[PositionRead]) -> Sequence[Holding]:
        """Keep reads, and say which were news; an older one never overwrites a newer one (T43)."""
        ...


class PositionReader:
    """Keeps positions true a moment after their events; several may run at once, they would only read twice.

    Nothing is lost by a crash: a row waits until a read as new as its newest event is stored. Raises `ChainUnavailable`
    or `OSError`.
    """

    def __init__(self, rows: PositionRows, accounts: AccountBatches, history: ChainHistory) -> None:
        self._rows = rows
        self._accounts = accounts
        self._history = history

    async def step(self) -> bool:
        """Read up to ACCOUNTS_MAX positions in one question; False when none was read."""
        tip = await self._history.confirmed_slot()
        stale = await self._rows.stale(ACCOUNTS_MAX, tip)
        if not stale:
            return False
        slot_min = max(slot for _, slot in stale)
        _, reads = await self._accounts.positions([holding for holding, _ in stale], slot_min)
        return bool(await self._rows.save(list(reads.values())))
