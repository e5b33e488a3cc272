"""The guarantee: walks the program's signatures from the cursor on, oldest first, and reads what nobody brought (T30).

The cursor moves in the transaction that writes what lies below it, and only below what is final; the last 64 slots are
looked at again each time, because nodes lag and show signatures late (C2).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence

import structlog

from chain.history import SIGNATURES_MAX, ChainHistory, SignatureSeen
from chain.rpc import ChainUnavailable, RpcRefused
from domain.indexed import Cursor, Finality, WantedTransaction
from indexer.fetcher import TransactionReader
from indexer.ports import IndexStore, IndexTransaction
from indexer.preparing import Preparer
from indexer.recorder import Recorder

OVERLAP_SLOTS = 64
PAGE_MAX = SIGNATURES_MAX
BATCH_MAX = 100
"""Signatures in one transaction with the cursor."""
SIGNATURES_KEPT = 200_000
"""Of one walk, 40 MB: a longer gap is walked several times, each time from its oldest end."""
ABSENT_S = 1.0
"""How soon a signature is asked for again that the node listed and did not show, or that waits for others."""

log = structlog.get_logger("indexer")


class GapFiller:
    """Sweeps one program. A sweep raises `ChainUnavailable`, `RpcRefused` or `OSError` and goes on from the cursor."""

    def __init__(
        self,
        history: ChainHistory,
        store: IndexStore,
        reader: TransactionReader,
        preparer: Preparer,
        recorder: Recorder,
        first_slot: int = 0,
        progress: Callable[[int, int], None] | None = None,
    ) -> None:
        """`progress` hears, after each batch, how many of how many signatures of this walk are done."""
        self._history = history
        self._store = store
        self._reader = reader
        self._preparer = preparer
        self._recorder = recorder
        self._first_slot = first_slot
        self._progress = progress
        self.filled_count = 0
        """Events that no push brought; above zero the push path loses."""

    async def sweep(self) -> int:
        """Read what is missing, oldest first; returns how many signatures were read or are wanted now."""
        cursor = await self._store.cursor()
        finalized_slot = await self._history.finalized_slot()
        from_slot = max((cursor.slot if cursor else self._first_slot) - OVERLAP_SLOTS, 0)
        seen, is_whole = await self._walk(from_slot)
        missing = 0
        for start in range(0, len(seen), BATCH_MAX):
            batch = seen[start : start + BATCH_MAX]
            missing += await self._fill(batch, _end_of(batch, finalized_slot))
            if self._progress is not None:
                self._progress(start + len(batch), len(seen))
        if is_whole:  # nothing below the finalized slot is left, so an idle program does not hold the cursor back
            await self._move(Cursor(finalized_slot, None, finalized_slot), swept=True)
        return missing

    async def _walk(self, from_slot: int) -> tuple[list[SignatureSeen], bool]:
        """Confirmed signatures from `from_slot` on, oldest first, and whether these are all of them."""
        found: deque[SignatureSeen] = deque(maxlen=SIGNATURES_KEPT)  # what no longer fits is the newest, read later
        before, count = None, 0
        while page := await self._history.signatures(before, PAGE_MAX):
            wanted = [line for line in page if line.slot >= from_slot]
            found.extend(wanted)
            count += len(wanted)
            if len(wanted) < len(page) or len(page) < PAGE_MAX:
                break
            before = page[-1].signature
        return list(reversed(found)), count <= SIGNATURES_KEPT

    async def _fill(self, batch: Sequence[SignatureSeen], cursor: Cursor | None) -> int:
        """Read what of a batch is not known and write it together with the cursor."""
        known = await self._store.known([line.signature for line in batch])
        missing = {line.signature: line for line in batch if line.signature not in known}
        if not missing:
            if cursor is not None:
                await self._move(cursor, swept=False)
            return 0
        try:
            self.filled_count += await self._read(missing, cursor)
        except (ChainUnavailable, RpcRefused, OSError):
            raise
        except Exception:  # a bug of ours with one of them: the fetcher finds out which, and the cursor goes on
            log.exception("gap.failed", signatures=len(missing))
            await self._want(missing, cursor)
        return len(missing)

    async def _want(self, missing: Mapping[str, SignatureSeen], cursor: Cursor | None) -> None:
        async with self._store.transaction() as opened:
            await opened.want([WantedTransaction(line.signature, line.slot, "gap") for line in missing.values()], 0)
            if cursor is not None:
                await opened.move_cursor(cursor, swept=False)

    async def _read(self, missing: Mapping[str, SignatureSeen], cursor: Cursor | None) -> int:
        """Write what a node shows, want what it does not, and move the cursor, together; returns the new events."""
        fetched = await self._reader.fetch(list(missing))
        final = [a for a in fetched.arrivals if missing[a.signature].is_finalized]
        young = [a for a in fetched.arrivals if not missing[a.signature].is_finalized]
        transactions = await self._preparer.prepare(final, "gap", Finality.FINALIZED)
        transactions += await self._preparer.prepare(young, "gap", Finality.CONFIRMED)
        waiting = [each.signature for each in transactions if each.is_waiting]
        transactions = [each for each in transactions if not each.is_waiting]
        absent = [WantedTransaction(each, missing[each].slot, "gap") for each in (*fetched.absent, *waiting)]

        async def mark(opened: IndexTransaction) -> None:
            await opened.want(absent, ABSENT_S)
            if cursor is not None:
                await opened.move_cursor(cursor, swept=False)

        log.info("gap.filled", transactions=len(transactions), absent=len(absent))
        return await self._recorder.record(transactions, mark)

    async def _move(self, cursor: Cursor, swept: bool) -> None:
        async with self._store.transaction() as opened:
            await opened.move_cursor(cursor, swept)


def _end_of(batch: Sequence[SignatureSeen], finalized_slot: int) -> Cursor | None:
    """The cursor behind a batch: its newest signature that is final; None when none is."""
    final = [line for line in batch if line.is_finalized and line.slot <= finalized_slot]
    return Cursor(final[-1].slot, final[-1].signature, finalized_slot) if final else None
