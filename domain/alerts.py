"""Alerts as people meet them: stored, counted, told to sinks, acknowledged, resolved."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from domain.ids import MarketId


class Severity(enum.StrEnum):
    """How urgent; the worst comes first, and comparing by `rank` says which is worse."""

    CRITICAL = "CRITICAL"
    HIGH = "HIGH"
    MEDIUM = "MEDIUM"
    LOW = "LOW"

    @property
    def rank(self) -> int:
        """0 for the worst."""
        return list(Severity).index(self)


class AlertStatus(enum.StrEnum):
    """An alert's way. Until it is resolved, what would repeat it counts it up."""

    OPEN = "open"
    ACKNOWLEDGED = "acknowledged"
    RESOLVED = "resolved"


class Occasion(enum.StrEnum):
    """Why people are told."""

    RAISED = "raised"
    REMINDER = "reminder"
    """It went on after the last time they were told, and its window has passed."""
    RESOLVED = "resolved"


@dataclass(frozen=True, slots=True)
class DeliveryState:
    """How far one sink is with an alert: pending, sent or given_up; `last_error` never holds a secret."""

    sink: str
    occasion: Occasion
    status: str
    attempts: int
    last_error: str


@dataclass(frozen=True, slots=True)
class StoredAlert:
    """A row of `alerts`; `number` only says which came first, `alert_id` (a UUID) is what people name it by."""

    number: int
    alert_id: str
    dedupe_key: str
    alert_type: str
    severity: Severity
    market_id: MarketId | None
    data: Mapping[str, str]
    occurrences: int
    created_at: datetime
    last_at: datetime
    acknowledged_at: datetime | None = None
    resolved_at: datetime | None = None
    announced_occurrences: int = 0
    deliveries: tuple[DeliveryState, ...] = ()

    @property
    def status(self) -> AlertStatus:
        """Where it stands."""
        if self.resolved_at is not None:
            return AlertStatus.RESOLVED
        return AlertStatus.OPEN if self.acknowledged_at is None else AlertStatus.ACKNOWLEDGED

    @property
    def occasion(self) -> Occasion:
        """What telling people of it now would be."""
        if self.resolved_at is not None:
            return Occasion.RESOLVED
        return Occasion.REMINDER if self.announced_occurrences else Occasion.RAISED


@dataclass(frozen=True, slots=True)
class Announcement:
    """What a sink is told: an alert as it stands, and why now."""

    occasion: Occasion
    alert: StoredAlert


@dataclass(frozen=True, slots=True)
class Delivery:
    """An announcement on its way to one sink; `attempts` includes the one that is about to be made."""

    delivery_id: int
    announcement: Announcement
    attempts: int


@dataclass(frozen=True, slots=True)
class Routed:
    """An alert that was read to be announced, and the sinks it shall go to."""

    alert: StoredAlert
    sinks: tuple[str, ...]
