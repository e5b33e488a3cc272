"""What the delivery of alerts needs of its neighbours, in domain words; `app/wiring_alerts.py` joins them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from domain.alerts import Announcement, Delivery, Routed, Severity, StoredAlert
from domain.journal import AlertNote


class AlertQueue(Protocol):
    """Alerts and their deliveries as rows; `now_s` is Unix seconds. Every call raises an OSError on an outage."""

    async def raise_alert(self, note: AlertNote) -> None:
        """Store an alert, or count it up."""
        ...

    async def resolve_key(self, dedupe_key: str, now_s: float) -> None:
        """What stood under this key is over."""
        ...

    async def to_announce(
        self, reminder_s: Mapping[Severity, float | None], now_s: float, limit: int
    ) -> Sequence[StoredAlert]:
        """Alerts that people have to be told of now, oldest first; None is a severity without reminders."""
        ...

    async def announce(self, routed: Sequence[Routed], now_s: float) -> frozenset[int]:
        """Queue the deliveries; the numbers of those alerts that nobody else had announced meanwhile."""
        ...

    async def due_sinks(self, now_s: float) -> frozenset[str]:
        """The sinks that have something due."""
        ...

    async def claim(self, sink: str, now_s: float, limit: int, lease_s: float) -> Sequence[Delivery]:
        """Take what is due for a sink; it falls due again after `lease_s` unless it is marked before."""
        ...

    async def mark_sent(self, deliveries: Sequence[Delivery], now_s: float) -> None:
        """The sink has taken them."""
        ...

    async def mark_failed(self, deliveries: Sequence[Delivery], error: str, next_attempt_s: float) -> None:
        """The sink has not; `error` holds no secret."""
        ...

    async def give_up(self, created_before_s: float, now_s: float) -> Sequence[str]:
        """End what has been tried for too long; the sink of each."""
        ...

    async def prune(self, settled_before_s: float) -> None:
        """Forget deliveries that ended before then."""
        ...


class AlertNews(Protocol):
    """A hint that there may be something new."""

    async def wait(self, timeout_s: float) -> None:
        """Return when there may be, or after `timeout_s`; safe to cancel. Raises an OSError on an outage."""
        ...


class SinkFailed(Exception):
    """A sink did not take what it was told; `why` holds no secret. `rate_limited` when it asked for less (429)."""

    def __init__(self, why: str, rate_limited: bool = False) -> None:
        super().__init__(why)
        self.why = why
        self.rate_limited = rate_limited


class Sink(Protocol):
    """A way to people."""

    @property
    def name(self) -> str:
        """Its name in the rules."""
        ...

    @property
    def timeout_s(self) -> float:
        """How long one sending may take."""
        ...

    @property
    def batch_max(self) -> int:
        """How many announcements go into one message."""
        ...

    async def send(self, announcements: Sequence[Announcement]) -> None:
        """Tell people, within `timeout_s`. Raises `SinkFailed`; a message that arrived all the same may be repeated."""
        ...
