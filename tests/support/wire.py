"""A socket without a network and a clock without time: connections run whole, in one thread, step after step."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

from tests.support.feed import NOW_S, Passes
from ws_bridge.admission import Admission, AdmissionLimits
from ws_bridge.connection import Connection, Surroundings
from ws_bridge.history import History, HistoryBounds
from ws_bridge.hub import Hub
from ws_bridge.laggards import Laggards
from ws_bridge.packets import Packet
from ws_bridge.session import Limits, Session
from ws_bridge.snapshots import Read, SnapshotDesk

BACKLOG_BYTES_MAX = 256 * 1024


class Line:
    """What a client received over one connection, and how it ended."""

    def __init__(self) -> None:
        self.told: list[dict[str, Any]] = []
        self.closed: tuple[int, str] | None = None
        self.backlog_bytes = 0
        self.ponged: Callable[[], None] | None = None
        """Answers pings; None: the client is dead."""

    def write(self, packets: Sequence[Packet]) -> int:
        """Wire."""
        if self.closed is None:
            if any(each.pings for each in packets) and self.ponged is not None:
                self.ponged()
            self.told.extend(json.loads(text.encode()) for each in packets for text in each.texts)
        return self.backlog_bytes

    def close(self, code: int, reason: str) -> None:
        """Wire."""
        if self.closed is None:
            self.closed = (code, reason)

    def take(self) -> list[dict[str, Any]]:
        """What came since the last call."""
        told, self.told = self.told, []
        return told

    def types(self) -> list[str]:
        """The types of what came since the last call."""
        return [message["type"] for message in self.take()]


class Alarm:
    """A timer that fires when the test says so."""

    def __init__(self, at_s: float, ring: Callable[[], None]) -> None:
        self.at_s, self.ring = at_s, ring

    def cancel(self) -> None:
        """Never fire."""
        self.at_s = float("inf")


class Stage:
    """A hub, its desk and a clock; reads begin and end, and time passes, when the test says so."""

    def __init__(
        self, passes: Passes | None = None, limits: Limits | None = None, bounds: HistoryBounds | None = None
    ) -> None:
        self.now_s = float(NOW_S)
        self.limits = limits or Limits()
        self.begun: list[Read] = []
        self.desk = SnapshotDesk(self.begun.append, lambda: self.now_s)
        self.hub = Hub(self.desk, History(bounds or HistoryBounds(), lambda: self.now_s))
        self.admission = Admission(AdmissionLimits(per_wallet_max=1_000), self.now_s)
        self.laggards = Laggards(behind_max_s=10.0)
        self._alarms: list[Alarm] = []
        self._around = Surroundings(
            self.hub,
            self.desk,
            passes or Passes(),
            self.admission,
            self.laggards,
            lambda: self.now_s,
            self._call_later,
            BACKLOG_BYTES_MAX,
        )

    def connect(self, *channels: str, ticket: str | None = "good") -> Client:
        """A new client; `ticket` is its token."""
        session = Session(self.limits, channels, self.now_s)
        client = Client(session, self._around)
        client.connection.opened(ticket)
        return client

    def pass_time(self, seconds: float) -> None:
        """Move the clock, and ring every alarm on the way at its time."""
        end_s = self.now_s + seconds
        while (alarm := min(self._alarms, key=lambda alarm: alarm.at_s, default=None)) and alarm.at_s <= end_s:
            self._alarms.remove(alarm)
            self.now_s = max(self.now_s, alarm.at_s)
            alarm.ring()
        self.now_s = end_s

    def _call_later(self, delay_s: float, ring: Callable[[], None]) -> Alarm:
        alarm = Alarm(self.now_s + delay_s, ring)
        self._alarms.append(alarm)
        return alarm


class Client:
    """One client at its end of a line."""

    def __init__(self, session: Session, around: Surroundings) -> None:
        self.line = Line()
        self.connection = Connection(session, self.line, around)
        self.line.ponged = self.connection.ponged

    def say(self, action: str, **fields: Any) -> None:
        """Send one action."""
        self.connection.received(json.dumps({"action": action, **fields}))
