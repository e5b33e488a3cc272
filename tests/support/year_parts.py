"""The parts of a simulated year as each process sees them: a journal, rows and an RPC that go away and come back."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import httpx

from chain.sender import Sender
from domain.intents import OPEN_STATUSES, Action, IntentStatus
from domain.journal import AlertNote, Change, Epochs
from storage.memory import MemoryJournal, MemoryTransaction
from storage.memory_tables import MemoryDatabase
from storage.outages import JournalLost, StorageUnavailable
from tests.support.mortal import Life, MortalStore, _as_solana_py
from tests.support.year_weather import Weather

T = TypeVar("T")
LONG_S = 6 * 3_600.0
OVERDUE_S = 240.0


class Chronicle:
    """What was told and done, and when, in seconds since the year began."""

    def __init__(self) -> None:
        self.told: list[tuple[float, AlertNote]] = []
        self.saved: list[tuple[float, Change]] = []
        self.openings: list[tuple[float, float]] = []
        """When a breaker opened, and the end of that agent's life."""
        self.left_closed: list[str] = []
        """Transitions that an outage made overdue while no breaker opened."""

    def tell(self, note: AlertNote) -> None:
        self.told.append((_now_s(), note))

    def save(self, changes: list[Change]) -> None:
        now_s = _now_s()
        self.saved += [(now_s, change) for change in changes]
        self.told += [(now_s, note) for change in changes for note in change.alerts]


class YearJournal(MemoryJournal):
    """The session of one shard's life, which may end before or after one of its commits."""

    def __init__(
        self, database: MemoryDatabase, weather: Weather, chronicle: Chronicle, dies_at: int | None, before: bool
    ) -> None:
        super().__init__(database, acquire_timeout_s=0)
        self._weather = weather
        self._chronicle = chronicle
        self._left = dies_at
        self._before = before

    @asynccontextmanager
    async def transaction(self, epochs: Epochs) -> AsyncIterator[MemoryTransaction]:
        """As the twin's, noted down once it is durable."""
        changes: list[Change] = []
        async with super().transaction(epochs) as transaction:
            save = transaction.save

            async def noted(each: Any) -> None:
                await save(each)
                changes.extend(each)

            transaction.save = noted  # type: ignore[method-assign, assignment]
            yield transaction
            is_last = self._is_last()
            if is_last and self._before:
                raise JournalLost("commit", "killed before it")
        self._chronicle.save(changes)
        if is_last:
            raise JournalLost("commit", "killed after it")

    def _is_last(self) -> bool:
        if self._left is not None:
            self._left -= 1
        return self._left == 0

    def _check_session(self, operation: str) -> None:
        if self._weather.is_down("database", "shard"):
            raise JournalLost(operation, "away")
        super()._check_session(operation)


class YearLife(Life):
    """An agent's life: what it asks for fails while that is away."""

    def __init__(
        self,
        dice: random.Random,
        death_at: int | None,
        deadly: str,
        weather: Weather,
        database: MemoryDatabase,
        chronicle: Chronicle,
    ) -> None:
        super().__init__(dice, death_at, deadly)
        self._weather = weather
        self._database = database
        self._chronicle = chronicle
        self.began_s = asyncio.get_running_loop().time()
        self.sender: Sender | None = None
        self._was_open = False
        self._opened_s: list[float] = []

    async def cross(self, name: str, effect: Callable[[], Awaitable[T]]) -> T:
        """As before, unless the part behind it is away."""
        self._look_at_breaker()
        if name != "sleep" and self._weather.is_down("rpc" if name[0].isupper() else "database"):
            if name[0].isupper():
                raise _as_solana_py(httpx.ConnectError("away"), name)
            raise StorageUnavailable(name, "away")
        return await super().cross(name, effect)

    async def sleep(self, seconds: float) -> None:
        """While nothing can come of waking, wake less often than the real one."""
        await super().sleep(self._worth_s(seconds))

    def close(self) -> None:
        """Its openings, with the moment that it ended."""
        self.over.set()
        now_s = asyncio.get_running_loop().time()
        self._chronicle.openings += [(at_s, now_s) for at_s in self._opened_s]

    def _worth_s(self, seconds: float) -> float:
        statuses = {attempt.status for attempt in self._database.tables.attempts.values()}
        if not statuses & (OPEN_STATUSES | {IntentStatus.CONFIRMED}):
            return LONG_S  # a plan wakes it
        if seconds >= 10 and IntentStatus.PLANNED not in statuses and self._weather.is_down("rpc"):
            return 1_800.0
        return seconds

    def _look_at_breaker(self) -> None:
        is_open = self.sender is not None and self.sender.holds_transitions_back
        if is_open and not self._was_open:
            self._opened_s.append(asyncio.get_running_loop().time())
        self._was_open = is_open


class YearRows(MortalStore):
    """The rows as the agent sees them, with its alerts noted down."""

    def __init__(
        self,
        life: YearLife,
        database: MemoryDatabase,
        signed: dict[str, set[str]],
        weather: Weather,
        chronicle: Chronicle,
    ) -> None:
        super().__init__(life, database, signed)
        self._own_life = life
        self._database = database
        self._weather = weather
        self._chronicle = chronicle

    async def mark_signed(self, *facts: Any, **more: Any) -> None:
        try:
            await super().mark_signed(*facts, **more)
        finally:
            self._weather.stir()

    async def mark_overdue(self, intent_id: str, error_name: str) -> bool:
        is_moved = await super().mark_overdue(intent_id, error_name)
        intent = self._database.tables.attempts[intent_id].intent
        if is_moved and intent.action is not Action.AGGREGATE_PROPOSAL and self._has_been_without_rpc():
            sender = self._own_life.sender
            if sender is not None and not sender.holds_transitions_back:
                self._chronicle.left_closed.append(intent_id)
        return is_moved

    async def raise_alert(self, note: AlertNote) -> None:
        async def store() -> None:
            await self._rows.raise_alert(note)
            self._chronicle.tell(note)

        try:
            await self._life.cross("raise_alert", store)
        except StorageUnavailable:
            self._chronicle.tell(note)  # to the sinks at once, as app/alarmed_store.py does
            raise

    def _has_been_without_rpc(self) -> bool:
        """Whether this life saw nothing but an outage for as long as an attempt may take."""
        since_s = asyncio.get_running_loop().time() - OVERDUE_S
        spans = self._weather.outages["rpc"]
        return self._own_life.began_s <= since_s and any(a <= since_s < since_s + OVERDUE_S < b for a, b in spans)


def _now_s() -> float:
    """To the millisecond, which a sum of floats may miss."""
    return round(asyncio.get_running_loop().time(), 3)
