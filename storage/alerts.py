"""Alerts for whoever shows, acknowledges or delivers them, and what is on its way to which sink."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from domain.alerts import (
    AlertStatus,
    Announcement,
    Delivery,
    DeliveryState,
    Occasion,
    Routed,
    Severity,
    StoredAlert,
)
from domain.ids import MarketId
from domain.journal import AlertNote
from storage import codec
from storage.database import Database
from storage.news import News

CHANNEL = "zmart_alerts"
PAGE_MAX = 1000
"""Rows of one answer; the API's own limit is lower."""
SHOWN_DELIVERIES_MAX = 20
"""Deliveries shown with an alert, the newest."""
BEFORE_ALL = 2**63 - 1
"""Comes before every alert, so that the first page is found by the same walk as the others."""


class AlertReads:
    """What operators see and do; every call raises StorageUnavailable."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def list(
        self,
        severity: Severity | None,
        status: AlertStatus | None,
        market_id: MarketId | None,
        before: int | None,
        limit: int,
    ) -> Sequence[StoredAlert]:
        """Up to `limit` alerts older than number `before`, newest first, of one severity, status and market or all."""
        wanted = (severity, market_id, status, before or BEFORE_ALL, min(limit, PAGE_MAX), SHOWN_DELIVERIES_MAX)
        return [alert_of(row) for row in await self._database.fetch("list_alerts", *wanted)]

    async def acknowledge(self, alert_id: str, now_s: float) -> StoredAlert | None:
        """Take note of it, once: the first time stands. None for an id that is not known."""
        return _only(await self._database.fetch("acknowledge_alert", alert_id, instant(now_s)))

    async def resolve(self, alert_id: str, now_s: float) -> StoredAlert | None:
        """It is over; what raises it again raises a new one. None for an id that is not known."""
        return _only(await self._database.fetch("resolve_alert", alert_id, instant(now_s)))


class AlertQueue:
    """What the delivery process does; `now_s` is Unix seconds. Every call raises StorageUnavailable (an OSError).

    Several processes may work on it: each alert is announced by one of them, each delivery held by one at a time.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    async def raise_alert(self, note: AlertNote) -> None:
        """Store an alert, or count it up."""
        await self._database.fetch("raise_alerts", *codec.columns([codec.alert_row(note)]))

    async def resolve_key(self, dedupe_key: str, now_s: float) -> None:
        """What stood under this key is over."""
        await self._database.fetch("resolve_alert_key", dedupe_key, instant(now_s))

    async def to_announce(
        self, reminder_s: Mapping[Severity, float | None], now_s: float, limit: int
    ) -> Sequence[StoredAlert]:
        """Alerts that people have to be told of now, oldest first; None is a severity without reminders."""
        windows = ([str(severity) for severity in reminder_s], list(reminder_s.values()))
        return [
            alert_of(row) for row in await self._database.fetch("alerts_to_announce", instant(now_s), *windows, limit)
        ]

    async def announce(self, routed: Sequence[Routed], now_s: float) -> frozenset[int]:
        """Queue the deliveries, and return the numbers of those alerts that nobody else had announced meanwhile."""
        alerts = [entry.alert for entry in routed]
        pairs = [(entry.alert, sink) for entry in routed for sink in entry.sinks]
        rows = await self._database.fetch(
            "announce_alerts",
            instant(now_s),
            [alert.number for alert in alerts],
            [alert.announced_occurrences for alert in alerts],
            [alert.occurrences for alert in alerts],
            [alert.number for alert, _ in pairs],
            [sink for _, sink in pairs],
            [str(alert.occasion) for alert, _ in pairs],
        )
        return frozenset(row["id"] for row in rows)

    async def due_sinks(self, now_s: float) -> frozenset[str]:
        """The sinks that have something due."""
        return frozenset(row["sink"] for row in await self._database.fetch("due_sinks", instant(now_s)))

    async def claim(self, sink: str, now_s: float, limit: int, lease_s: float) -> Sequence[Delivery]:
        """Take what is due for a sink; it falls due again after `lease_s` unless it is marked before."""
        wanted = (sink, instant(now_s), limit, instant(now_s + lease_s))
        rows = await self._database.fetch("claim_deliveries", *wanted)
        return [
            Delivery(row["delivery_id"], Announcement(Occasion(row["occasion"]), alert_of(row)), row["attempts"])
            for row in rows
        ]

    async def mark_sent(self, deliveries: Sequence[Delivery], now_s: float) -> None:
        """The sink has taken them."""
        await self._database.fetch("mark_sent_deliveries", _ids(deliveries), instant(now_s))

    async def mark_failed(self, deliveries: Sequence[Delivery], error: str, next_attempt_s: float) -> None:
        """The sink has not; `error` holds no secret."""
        error = codec.printable(error)
        await self._database.fetch("mark_failed_deliveries", _ids(deliveries), error, instant(next_attempt_s))

    async def give_up(self, created_before_s: float, now_s: float) -> Sequence[str]:
        """End what has been tried for too long; the sink of each."""
        rows = await self._database.fetch("give_up_deliveries", instant(created_before_s), instant(now_s))
        return [row["sink"] for row in rows]

    async def prune(self, settled_before_s: float) -> None:
        """Forget deliveries that ended before then."""
        await self._database.fetch("prune_deliveries", instant(settled_before_s))


class AlertNews(News):
    """Hears of new alerts."""

    def __init__(self, database_url: str) -> None:
        super().__init__(database_url, CHANNEL, "zmart-alerts")


def alert_of(row: Any) -> StoredAlert:
    """The alert in a row of `alert_columns`."""
    return StoredAlert(
        number=row["id"],
        alert_id=row["alert_id"],
        dedupe_key=row["dedupe_key"],
        alert_type=row["alert_type"],
        severity=Severity(row["severity"]),
        market_id=row["market_id"],
        data={name: str(value) for name, value in json.loads(row["data"]).items()},
        occurrences=row["occurrences"],
        created_at=row["created_at"],
        last_at=row["last_at"],
        acknowledged_at=row["acknowledged_at"],
        resolved_at=row["resolved_at"],
        announced_occurrences=row["announced_occurrences"],
        deliveries=tuple(_state_of(state) for state in json.loads(row["deliveries"])),
    )


def instant(unix_s: float) -> datetime:
    """Unix seconds as PostgreSQL takes them."""
    return datetime.fromtimestamp(unix_s, UTC)


def _state_of(state: Mapping[str, Any]) -> DeliveryState:
    return replace(DeliveryState(**state), occasion=Occasion(state["occasion"]))


def _ids(deliveries: Sequence[Delivery]) -> Sequence[int]:
    return [delivery.delivery_id for delivery in deliveries]


def _only(rows: Sequence[Any]) -> StoredAlert | None:
    return alert_of(rows[0]) if rows else None
