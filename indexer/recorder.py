"""The one transaction in which events, their effects and the mark on whatever brought them are written (T32)."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

import structlog

from domain.indexed import EventRecord, IndexedTransaction
from domain.journal import AlertNote
from indexer.ports import IndexStore, IndexTransaction, Projector
from indexer.reading import CUT_OFF

Mark = Callable[[IndexTransaction], Awaitable[None]]

log = structlog.get_logger("indexer")


class Recorder:
    """Writes what was read, exactly once however often and by whomever it is brought; safe for many tasks.

    Events come out of the insert that was new; effects and projections are made from those alone, in the same
    transaction. `heard` is set when markets have something to hear. Raises `OSError`: then nothing is written.
    """

    def __init__(self, store: IndexStore, projector: Projector, heard: asyncio.Event) -> None:
        self._store = store
        self._projector = projector
        self._heard = heard

    async def record(self, transactions: Sequence[IndexedTransaction], mark: Mark) -> int:
        """Write transactions and then the mark; returns how many events were new."""
        async with self._store.transaction() as opened:
            events, signatures = await opened.take(transactions)
            taken = [t for t in _distinct(transactions) if t.signature in signatures]
            # fifty trades of a market in one slot are one look at it
            await opened.add_effects(list(dict.fromkeys(effect for t in taken for effect in t.effects)))
            positions = [position for t in taken for position in t.positions]
            if events or positions:
                await self._projector.project(opened, events, positions)
            await opened.raise_alerts(_alerts(events, taken))
            await mark(opened)
        if any(transaction.effects for transaction in taken):
            self._heard.set()
        if events:
            log.debug("indexed", events=len(events), transactions=len(taken))
        return len(events)


def _distinct(transactions: Sequence[IndexedTransaction]) -> Sequence[IndexedTransaction]:
    """Each signature once, in the order of the chain as far as it is known."""
    first = {transaction.signature: transaction for transaction in reversed(transactions)}
    return sorted(first.values(), key=lambda t: (t.slot, -1 if t.block_index is None else t.block_index))


def _alerts(events: Sequence[EventRecord], taken: Sequence[IndexedTransaction]) -> list[AlertNote]:
    """One open alert for each kind of bytes that are no event of ours, and two for logs that were cut off."""
    notes = {}
    for event in events:
        if event.fault == CUT_OFF:
            data = {"signature": event.signature, "event_index": str(event.ordinal), "event": event.event_type}
            notes["event_cut_off"] = AlertNote("event_cut_off", "MEDIUM", "event_cut_off", event.market_id, data)
        elif event.fault is not None:
            kind = event.data.get("event") or event.raw[:8].hex()
            key = f"undecodable_event:{event.fault}:{kind}"
            data = {"signature": event.signature, "event_index": str(event.ordinal), "fault": event.fault}
            notes[key] = AlertNote("undecodable_event", "HIGH", key, event.market_id, data)
    incomplete = next((t for t in taken if t.is_incomplete), None)
    if incomplete is not None:
        key = "log_truncated"
        notes[key] = AlertNote(key, "LOW", key, None, {"signature": incomplete.signature})
    return list(notes.values())
