"""Listens for heartbeats that stop: a process that hangs tells nobody, so its silence has to."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Protocol

import structlog

from domain.journal import AlertNote

LOOK_S = 5.0
SILENT_S = 30.0
"""A silence that is told: fifteen beats, more than a restart takes."""

NoteOf = Callable[[str, float], AlertNote]
"""The alert for a name and the seconds of its silence."""

log = structlog.get_logger("alerts")


class Beats(Protocol):
    """When roles were heard last; raises an OSError on an outage."""

    async def ages_s(self) -> Mapping[str, float]:
        """Seconds since the last beat of each role that ever beat."""
        ...


class Alarms(Protocol):
    """Where alerts begin and end; raises an OSError on an outage."""

    async def raise_alert(self, note: AlertNote) -> None:
        """Store an alert, or count it up."""
        ...

    async def resolve_key(self, dedupe_key: str, now_s: float) -> None:
        """What stood under this key is over."""
        ...


class Vigil:
    """One alert for each that falls silent, resolved when it is heard again; over roles, or over the shards' places."""

    def __init__(self, beats: Beats, alarms: Alarms, note: NoteOf | None = None) -> None:
        self._beats = beats
        self._alarms = alarms
        self._note = note or role_silent
        self._silent: dict[str, bool] = {}

    async def look(self, now_s: float) -> None:
        """Look once; what was said already is not said again."""
        ages_s = await self._beats.ages_s()
        gone = {role: 0.0 for role in self._silent if role not in ages_s}
        for role, age_s in {**ages_s, **gone}.items():
            is_silent = age_s > SILENT_S
            if self._silent.get(role) is is_silent:
                continue
            note = self._note(role, age_s)
            if is_silent:
                await self._alarms.raise_alert(note)
            else:
                await self._alarms.resolve_key(note.dedupe_key, now_s)
            self._silent[role] = is_silent

    async def run(self, now_s: Callable[[], float]) -> None:
        """Look for ever; an outage is waited out, and has an alert of its own."""
        while True:
            try:
                await self.look(now_s())
            except OSError as outage:
                log.warning("vigil.waits", error=str(outage))
            await asyncio.sleep(LOOK_S)


def role_silent(role: str, age_s: float) -> AlertNote:
    """A role hangs, or nobody runs it."""
    data = {"role": role, "silent_s": str(round(age_s)), "mend": f"logs/{role}.log; restart it"}
    return AlertNote("role_silent", "HIGH", f"role_silent:{role}", None, data)


def shard_down(slot: str, age_s: float) -> AlertNote:
    """A shard's process does not come up, however often it is started, or nobody starts it."""
    data = {"slot": slot, "silent_s": str(round(age_s)), "mend": "logs/actors.log says why its start fails"}
    return AlertNote("shard_down", "HIGH", f"shard_down:{slot}", None, data)
