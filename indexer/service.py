"""Sources and workers together: listens, sweeps, works the inbox, lets markets hear, settles; until cancelled."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import structlog

from chain.accounts import ChainAccounts
from chain.history import ChainHistory
from chain.rpc import ChainUnavailable, RpcRefused
from chain.subscription import SubscriptionEnded
from domain.indexed import Due, WantedTransaction
from indexer.effects import Herald
from indexer.fetcher import Fetcher, TransactionReader
from indexer.filler import GapFiller
from indexer.ports import IndexStore, Markets, Projector, Spans, Unspanned
from indexer.preparing import Preparer
from indexer.promoter import Promoter
from indexer.pulse import BEAT_S, Pulse
from indexer.recorder import Recorder
from indexer.worker import InboxWorker

HINT_DELAY_S = 1.5
"""How long a hint waits before its transaction is asked for: the webhook usually brings it whole by then."""
HINTS_MAX = 256
"""Hints written at once; they are written as they come, and one lost is found by the next sweep."""
RECONNECT_S = 0.5
RECONNECT_S_MAX = 30.0
LOOK_ANYWAY_S = 5.0
"""How often a step is tried of which nobody said that it has work: what a look misses is no more than late."""
OUTAGE_S = 1.0
OUTAGE_S_MAX = 10.0
PRUNE_AT_ONCE = 500

log = structlog.get_logger("indexer")

Step = Callable[[], Awaitable[bool]]


class Hints(Protocol):
    """A subscription to the program's signatures."""

    def hints(self) -> AsyncIterator[tuple[str, int] | None]:
        """None once subscribed, then (signature, slot); raises `SubscriptionEnded`."""
        ...


@dataclass(frozen=True, slots=True)
class IndexerSettings:
    """How often what is done, in seconds."""

    workers: int = 2
    idle_s: float = 0.1
    """Between two looks at what waits, all of it by one statement."""
    sweep_s: float = 10.0
    settle_s: float = 1.0
    lease_s: float = 20.0
    """Longer than any batch takes, its database timeouts included; what a dead worker held comes back after it."""
    inbox_kept_s: float = 3600.0
    first_slot: int = 0


@dataclass(frozen=True, slots=True)
class Chore:
    """A step that is repeated: at once while it says that there is more, else when it is due, but after `rest_s`."""

    name: str
    step: Step
    due: Due
    rest_s: float = 0.0


@dataclass(frozen=True, slots=True)
class IndexerParts:
    """What the indexer works with."""

    program_id: str
    store: IndexStore
    history: ChainHistory
    accounts: ChainAccounts
    markets: Markets
    projector: Projector
    subscription: Hints | None
    dice: random.Random
    chores: Sequence[Chore] = ()
    """What else is to be done beside reading and telling."""
    spans: Spans | None = None


class Indexer:
    """All of it in one process; any number of processes may run at once. An outage is waited out, a bug ends it."""

    def __init__(self, parts: IndexerParts, settings: IndexerSettings) -> None:
        self._parts = parts
        self._spans = parts.spans or Unspanned()
        self._settings = settings
        self._wakes = {due: asyncio.Event() for due in Due}
        self._gap = asyncio.Event()
        self._gap.set()
        self._pulse = Pulse(lambda: asyncio.get_running_loop().time())
        recorder = Recorder(parts.store, parts.projector, self._wakes[Due.EFFECTS])
        preparer = Preparer(parts.program_id, parts.accounts, parts.store)
        reader = TransactionReader(parts.history)
        self.worker = InboxWorker(parts.program_id, parts.store, preparer, recorder, settings.lease_s, parts.spans)
        self.fetcher = Fetcher(parts.store, reader, preparer, recorder, parts.dice, settings.lease_s)
        self.filler = GapFiller(parts.history, parts.store, reader, preparer, recorder, settings.first_slot)
        self.promoter = Promoter(parts.history, parts.store, parts.projector)
        self.herald = Herald(parts.store, parts.history, parts.accounts, parts.markets, settings.lease_s)

    async def run(self) -> None:
        """Work until cancelled."""
        settings = self._settings
        async with asyncio.TaskGroup() as tasks:
            for chore in (*self._chores(), *self._parts.chores):
                wake = self._wakes[chore.due]
                tasks.create_task(self._repeat(chore.name, chore.step, LOOK_ANYWAY_S, wake, chore.rest_s))
            tasks.create_task(self._repeat("look", self._look, settings.idle_s))
            tasks.create_task(self._repeat("sweep", self._sweep, settings.sweep_s, self._gap))
            tasks.create_task(self._repeat("heartbeat", self.beat, BEAT_S))
            tasks.create_task(self._repeat("prune", self._prune, settings.inbox_kept_s / 10))
            if self._parts.subscription is not None:
                tasks.create_task(self._listen(self._parts.subscription))

    def _chores(self) -> Iterator[Chore]:
        for _ in range(self._settings.workers):
            yield Chore("inbox", self.worker.step, Due.BODIES)
            yield Chore("effects", self.herald.step, Due.EFFECTS)
        yield Chore("fetch", self.fetcher.step, Due.SIGNATURES)
        yield Chore("settle", self.promoter.step, Due.CONFIRMED, self._settings.settle_s)

    async def _look(self) -> bool:
        """Wake those who have work; looks of their own, at tables that are mostly empty, cost six times as much."""
        for due in await self._parts.store.due():
            self._wakes[due].set()
        return False

    async def _repeat(
        self, name: str, step: Step, idle_s: float, wake: asyncio.Event | None = None, rest_s: float = 0.0
    ) -> None:
        """Step for ever: at once while there is work, after `idle_s` or a wake-up when there was none."""
        pause_s = OUTAGE_S
        while True:
            if wake is not None:
                wake.clear()
            try:
                with self._pulse.step(name):
                    busy = await step()
                pause_s = OUTAGE_S
            except (OSError, ChainUnavailable, RpcRefused) as outage:
                log.warning("waits", what=name, error=str(outage), retry_in_s=pause_s)
                await asyncio.sleep(pause_s)
                pause_s = min(pause_s * 2, OUTAGE_S_MAX)
                continue
            if not busy:
                await asyncio.sleep(rest_s)
                await _pause(idle_s, wake)

    async def beat(self) -> bool:
        """Say that all of this lives; with a step that hangs it falls silent, and people are told."""
        stuck = self._pulse.stuck()
        if stuck:
            log.error("stuck", steps=stuck)
        else:
            await self._parts.store.beat()
        return False

    async def _sweep(self) -> bool:
        with self._spans.work("sweep", {}):
            await self.filler.sweep()
        return False

    async def _prune(self) -> bool:
        return await self._parts.store.prune_inbox(self._settings.inbox_kept_s, PRUNE_AT_ONCE) == PRUNE_AT_ONCE

    async def _listen(self, subscription: Hints) -> None:
        """Take hints for ever; after each (re)connection the history is looked at, for what went by meanwhile."""
        pause_s = RECONNECT_S
        while True:
            try:
                async for hint in subscription.hints():
                    pause_s = RECONNECT_S
                    if hint is None:
                        self._gap.set()
                    else:
                        await self._want(WantedTransaction(hint[0], hint[1], "subscription"))
            except SubscriptionEnded as ended:
                log.warning("subscription.ended", why=str(ended), retry_in_s=pause_s)
            await asyncio.sleep(pause_s)
            pause_s = min(pause_s * 2, RECONNECT_S_MAX)

    async def _want(self, wanted: WantedTransaction) -> None:
        try:
            async with self._parts.store.transaction() as opened:
                await opened.want([wanted], HINT_DELAY_S)
        except OSError as outage:
            log.warning("hint.lost", signature=wanted.signature, error=str(outage))


async def _pause(idle_s: float, wake: asyncio.Event | None) -> None:
    if wake is None:
        await asyncio.sleep(idle_s)
        return
    try:
        async with asyncio.timeout(idle_s):
            await wake.wait()
    except TimeoutError:
        return
