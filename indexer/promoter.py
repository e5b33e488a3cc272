"""From confirmed to finalized, or to dropped: what was written at confirmed is followed until it is settled (T42)."""

from __future__ import annotations

from collections.abc import Sequence

import structlog

from chain.history import STATUSES_MAX, ChainHistory, Standing
from domain.ids import MarketId
from domain.indexed import ConfirmedTransaction, EventRecord, MarketEffect
from domain.journal import AlertNote
from indexer.ports import IndexStore, Projector

DROPPED_AFTER_SLOTS = 32
"""How far the finalized slot must be past a transaction's before its absence means anything."""

log = structlog.get_logger("indexer")


class Promoter:
    """Settles transactions. `step` raises `ChainUnavailable`, `RpcRefused` or `OSError`, and then nothing changed."""

    def __init__(self, history: ChainHistory, store: IndexStore, projector: Projector) -> None:
        self._history = history
        self._store = store
        self._projector = projector

    async def step(self) -> bool:
        """Look at the oldest that may be final; False when nothing was settled."""
        finalized_slot = await self._history.finalized_slot()
        waiting = await self._store.confirmed(finalized_slot, STATUSES_MAX)
        if not waiting:
            return False
        standings = await self._history.standings([each.signature for each in waiting])
        pairs = list(zip(waiting, standings, strict=True))
        final = [each.signature for each, standing in pairs if standing.is_finalized and standing.slot == each.slot]
        moved = [(each, standing) for each, standing in pairs if standing.slot not in (None, each.slot)]
        absent = [each for each, standing in pairs if standing.slot is None]
        gone = [each for each in absent if await self._is_gone(each, finalized_slot)]
        await self._settle(final, moved, gone, finalized_slot)
        return bool(final or moved or gone)

    async def _is_gone(self, each: ConfirmedTransaction, finalized_slot: int) -> bool:
        """Whether every endpoint that knows the slot and 32 more knows nothing of the signature."""
        if finalized_slot < each.slot + DROPPED_AFTER_SLOTS:
            return False
        looks = await self._history.every_standing(each.signature)
        return all(look.slot is None and look.context_slot >= each.slot + DROPPED_AFTER_SLOTS for look in looks)

    async def _settle(
        self,
        final: Sequence[str],
        moved: Sequence[tuple[ConfirmedTransaction, Standing]],
        gone: Sequence[ConfirmedTransaction],
        finalized_slot: int,
    ) -> None:
        if not (final or moved or gone):
            return
        async with self._store.transaction() as opened:
            await opened.promote(final)
            for each, standing in moved:
                assert standing.slot is not None, "only those that stand somewhere have moved"
                await opened.moved_to(each.signature, standing.slot)
            if gone:
                events = await opened.drop([each.signature for each in gone])
                await self._projector.dropped(opened, events)
                await opened.add_effects(_corrections(events, finalized_slot))
                await opened.raise_alerts(_alerts(gone))
        for each in gone:
            log.error("transaction.dropped", signature=each.signature, slot=each.slot)


def _corrections(events: Sequence[EventRecord], slot: int) -> list[MarketEffect]:
    """Every market that an event named is to be looked at again, as of now."""
    named: dict[MarketId, None] = {event.market_id: None for event in events if event.market_id is not None}
    return [MarketEffect(market_id, slot) for market_id in named]


def _alerts(gone: Sequence[ConfirmedTransaction]) -> list[AlertNote]:
    return [
        AlertNote(
            "transaction_dropped",
            "MEDIUM",
            f"transaction_dropped:{each.signature}",
            None,
            {"signature": each.signature, "slot": str(each.slot)},
        )
        for each in gone
    ]
