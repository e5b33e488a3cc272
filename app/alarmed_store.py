"""A store of transactions whose alerts reach people also when the database does not take them (T91)."""

from __future__ import annotations

import asyncio
import os
import random
import uuid
from typing import TYPE_CHECKING

import structlog

from app import clock
from app.config import Settings
from chain.rpc import Sleep
from domain.journal import AlertNote
from storage.database import Database
from storage.outages import StorageUnavailable
from storage.transactions import PostgresTransactionStore

if TYPE_CHECKING:
    from alerts.direct import DirectAlarm

log = structlog.get_logger("alerts")


class AlarmedStore(PostgresTransactionStore):
    """The same rows. An alert that cannot be stored goes to the log and to the sinks, and the outage on its way.

    Sinks are told by a task of their own, one at a time: nobody here waits for them. A later try that is stored is told
    as well, so people may hear twice.
    """

    def __init__(self, database: Database, settings: Settings, sleep: Sleep = asyncio.sleep) -> None:
        super().__init__(database)
        self._sleep = sleep
        self._settings = settings
        self._direct: DirectAlarm | None = None
        self._telling: asyncio.Task[None] | None = None

    async def raise_alert(self, note: AlertNote) -> None:
        """Store an alert; raises StorageUnavailable, with the sinks about to be told."""
        try:
            await super().raise_alert(note)
        except StorageUnavailable:
            log.error("alert not stored", alert_type=note.alert_type, severity=note.severity, data=dict(note.data))
            if self._telling is None or self._telling.done():
                self._telling = asyncio.create_task(self._tell(note))
            elif self._direct is not None:
                self._direct.note(note)  # the task that is telling has it with its next turn
            raise

    async def told(self) -> None:
        """Wait for the task that is telling, if there is one."""
        if self._telling is not None:
            await self._telling

    async def _tell(self, note: AlertNote) -> None:
        """Its failure is in the log and nowhere else: it must not replace what was to be told.

        A sink that fails is tried again when it is due, whether or not there is another alert.
        """
        try:
            if self._direct is None:  # half a second of imports that is not spent unless it is needed
                self._direct = await asyncio.to_thread(direct_alarm, self._settings)
            self._direct.note(note)
            await self._direct.turn()
            while (wait_s := self._direct.next_turn_s()) is not None:
                await self._sleep(wait_s)
                await self._direct.turn()
        except Exception as fault:
            log.error("sinks not told", error=type(fault).__name__)


def direct_alarm(settings: Settings) -> DirectAlarm:
    """An alarm over the sinks of the rules file. Raises UnusableRules."""
    from alerts.direct import DirectAlarm
    from alerts.rules import read_rules
    from alerts.sinks import open_sinks

    rules = read_rules(settings.alert_rules)
    sinks, _, _ = open_sinks(rules, os.environ)
    return DirectAlarm(rules, sinks, clock.wall_s, lambda: str(uuid.uuid4()), random.SystemRandom())
