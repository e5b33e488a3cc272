"""Reads wanted signatures from a node: what a hint or the gap filler knows of, and nobody brought whole."""

from __future__ import annotations

import asyncio
import random
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import structlog

from chain.history import ChainHistory
from chain.rpc import ChainUnavailable, RpcRefused
from domain.indexed import Finality, WantedTransaction
from domain.journal import AlertNote
from indexer.arrivals import Arrival, Hint, Unreadable, read_item
from indexer.ports import IndexStore, IndexTransaction
from indexer.preparing import Preparer
from indexer.recorder import Recorder

BATCH_MAX = 64
"""Signatures leased at once."""
READS_MAX = 8
"""Transactions that are asked for at once; a public endpoint takes about 40 in ten seconds."""
NULL_S = 0.2
"""Wait after the first null; each further one doubles it, with jitter (C2)."""
NULL_S_MAX = 5.0
PARKED_AFTER_S = 60.0
"""A signature that nobody can show for so long is reported, and from then on asked for every `PARKED_S`."""
PARKED_S = 60.0
ATTEMPTS_MAX = 10
"""Tries after which a transaction is given up that meets a bug of ours."""
WAITS_MAX = 8
"""Tries, 16 s, after which a transaction with a cut-off log is written with what is known: others may never come."""
BLOCKS_KEPT = 256
"""Orders of blocks that are remembered."""

log = structlog.get_logger("indexer")


class Places:
    """Where in its block a transaction stands, by one question for each block."""

    def __init__(self, history: ChainHistory) -> None:
        self._history = history
        self._blocks: OrderedDict[int, Mapping[str, int]] = OrderedDict()

    async def place(self, arrival: Arrival) -> Arrival:
        """The arrival with its index, where the block can be had."""
        if arrival.block_index is not None:
            return arrival
        places = self._blocks.get(arrival.slot)
        if places is None or arrival.signature not in places:  # the block may have been replaced
            signatures = await self._history.block_signatures(arrival.slot)
            if signatures is None:
                return arrival
            places = {signature: index for index, signature in enumerate(signatures)}
            self._blocks[arrival.slot] = places
            while len(self._blocks) > BLOCKS_KEPT:
                self._blocks.popitem(last=False)
        return replace(arrival, block_index=places.get(arrival.signature))


@dataclass(frozen=True, slots=True)
class Fetched:
    """What came of asking for some signatures."""

    arrivals: tuple[Arrival, ...]
    absent: tuple[str, ...]
    """Nodes said null, or showed no log: not an error, ask again (agave #3074)."""


class TransactionReader:
    """Asks a node for transactions, a few at once. Raises `ChainUnavailable`."""

    def __init__(self, history: ChainHistory) -> None:
        self._history = history
        self._places = Places(history)
        self._slots = asyncio.Semaphore(READS_MAX)

    async def fetch(self, signatures: Sequence[str]) -> Fetched:
        """Ask once for each."""
        read = await asyncio.gather(*(self._one(signature) for signature in signatures))
        arrivals = [await self._places.place(one) for one in read if isinstance(one, Arrival)]
        absent = [signature for signature, one in zip(signatures, read, strict=True) if not isinstance(one, Arrival)]
        return Fetched(tuple(arrivals), tuple(absent))

    async def _one(self, signature: str) -> Arrival | Hint | Unreadable | None:
        async with self._slots:
            try:
                shown: Mapping[str, Any] | None = await self._history.transaction(signature)
            except RpcRefused as refusal:  # of this one: the others must not wait for it
                log.warning("fetch.refused", signature=signature, error=str(refusal))
                return None
        return None if shown is None else read_item(shown)


class Fetcher:
    """Works off wanted signatures."""

    def __init__(
        self,
        store: IndexStore,
        reader: TransactionReader,
        preparer: Preparer,
        recorder: Recorder,
        dice: random.Random,
        lease_s: float,
    ) -> None:
        self._store = store
        self._reader = reader
        self._preparer = preparer
        self._recorder = recorder
        self._dice = dice
        self._lease_s = lease_s

    async def step(self) -> bool:
        """Ask for one batch; False when nothing was due. An outage of the chain gives the batch back."""
        wanted = await self._store.lease_wanted(BATCH_MAX, self._lease_s)
        if wanted:
            await self._work(wanted)
        return bool(wanted)

    async def _work(self, wanted: Sequence[WantedTransaction]) -> None:
        """All at once; when that fails for no outage, each alone, so that one bad transaction holds nobody up."""
        try:
            await self._fetch(wanted)
        except (ChainUnavailable, RpcRefused) as outage:
            log.warning("fetch.waits", signatures=len(wanted), error=str(outage))
            await self._store.return_wanted({each.signature: NULL_S_MAX for each in wanted}, str(outage))
        except OSError:
            raise
        except Exception as fault:
            log.exception("fetch.failed", signatures=len(wanted))
            if len(wanted) > 1:
                for each in wanted:
                    await self._work([each])
                return
            await self._give_back(wanted[0], repr(fault))

    async def _fetch(self, wanted: Sequence[WantedTransaction]) -> None:
        by_signature = {each.signature: each for each in wanted}
        fetched = await self._reader.fetch(list(by_signature))
        prepared = await self._preparer.prepare(fetched.arrivals, "rpc", Finality.CONFIRMED)
        waiting = [
            each.signature for each in prepared if each.is_waiting and by_signature[each.signature].attempts < WAITS_MAX
        ]
        transactions = [each for each in prepared if each.signature not in waiting]

        async def mark(opened: IndexTransaction) -> None:
            await opened.raise_alerts(_alerts([by_signature[signature] for signature in fetched.absent]))

        await self._recorder.record(transactions, mark)
        pauses = {signature: self._pause_s(by_signature[signature]) for signature in (*fetched.absent, *waiting)}
        await self._store.return_wanted(pauses, "no node has it, or its log is cut off and others are missing")

    async def _give_back(self, wanted: WantedTransaction, error: str) -> None:
        """Try a transaction again that met a bug of ours; after ten tries it is a dead letter."""
        if wanted.attempts < ATTEMPTS_MAX:
            await self._store.return_wanted({wanted.signature: NULL_S_MAX}, error)
            return
        data = {"signature": wanted.signature, "error": error, "mend": "zmart index dead-letters"}
        note = AlertNote("transaction_dead_letter", "HIGH", "transaction_dead_letter", None, data)
        await self._store.bury_wanted(wanted.signature, error, note)

    def _pause_s(self, wanted: WantedTransaction) -> float:
        if wanted.age_s > PARKED_AFTER_S:
            return PARKED_S
        return float(min(NULL_S * 2 ** min(wanted.attempts - 1, 10), NULL_S_MAX)) * self._dice.uniform(0.8, 1.2)


def _alerts(absent: Sequence[WantedTransaction]) -> list[AlertNote]:
    return [
        AlertNote("transaction_absent", "MEDIUM", f"transaction_absent:{each.signature}", None, {"source": each.source})
        for each in absent
        if each.age_s > PARKED_AFTER_S
    ]
