"""Timers of thousands of connections as one: what is due within a quarter of a second rings together.

A timer of the loop for each costs a turn of the loop for each ping and one for each pong. Those that ring together
share their heartbeat's text, and the pongs come back together.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

SLOT_S = 0.25
"""How late an alarm may ring; never early."""
RUNG_AT_ONCE_MAX = 200
"""About 4 ms; then sockets that want something are served before the rest rings."""


class Alarm:
    """A timer that has not fired yet."""

    __slots__ = ("ring",)

    def __init__(self, ring: Callable[[], None]) -> None:
        self.ring: Callable[[], None] | None = ring

    def cancel(self) -> None:
        """Never fire; nothing of its owner is kept."""
        self.ring = None


class Alarms:
    """Slots of a quarter of a second, each with what rings at its end."""

    def __init__(self, clock_s: Callable[[], float]) -> None:
        self._clock_s = clock_s
        self._slots: dict[int, list[Alarm]] = {}

    def call_later(self, delay_s: float, ring: Callable[[], None]) -> Alarm:
        """Ring once, not before `delay_s` has passed."""
        alarm = Alarm(ring)
        self._slots.setdefault(int((self._clock_s() + delay_s) / SLOT_S) + 1, []).append(alarm)
        return alarm

    def due(self) -> list[Alarm]:
        """What is to ring now, oldest slot first; it is then forgotten."""
        now = int(self._clock_s() / SLOT_S)
        slots = sorted(slot for slot in self._slots if slot <= now)
        return [alarm for slot in slots for alarm in self._slots.pop(slot)]

    async def run(self) -> None:
        """Ring until it is cancelled; an exception of what rings ends it."""
        while True:
            await asyncio.sleep(SLOT_S - self._clock_s() % SLOT_S)
            for place, alarm in enumerate(self.due()):
                if place and place % RUNG_AT_ONCE_MAX == 0:
                    await asyncio.sleep(0)
                if alarm.ring is not None:
                    alarm.ring()
