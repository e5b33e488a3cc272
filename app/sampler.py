"""Figures of the whole system for Prometheus, read from PostgreSQL every few seconds by the role `alerts`."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

import structlog
from prometheus_client import Gauge

from app import clock
from storage.figures import Figure, Figures
from storage.outages import StorageUnavailable

EVERY_S = 5.0
_LABELS = {
    "transactions": ("planned", "signed", "sent", "confirmed"),
    "transactions_hour": ("finalized", "failed", "expired"),
    "alerts": ("CRITICAL", "HIGH", "MEDIUM", "LOW"),
}
"""Every label is shown, at 0 when the database has no such row: a series that ends tells nobody that all is well."""


def _gauge(name: str, help_text: str, label: str | None = None) -> Gauge:
    return Gauge(name, help_text, [label] if label else [], multiprocess_mode="mostrecent")


GAUGES = {
    "transactions": _gauge("zmart_transactions", "Attempts that have not reached finality, by state.", "state"),
    "transactions_hour": _gauge("zmart_transactions_ended", "Attempts of the last hour that ended, by how.", "state"),
    "alerts": _gauge("zmart_alerts_unresolved", "Alerts that nobody has resolved.", "severity"),
    "feed_lag": _gauge("zmart_feed_lag_seconds", "Age of the oldest message not in the feed's stream yet."),
    "inbox_age": _gauge("zmart_inbox_age_seconds", "Age of the oldest webhook body not indexed yet."),
    "cursor_lag": _gauge("zmart_indexer_cursor_lag_slots", "Slots from the indexer's cursor to the finalized slot."),
    "sweep_age": _gauge("zmart_indexer_sweep_age_seconds", "How long ago the indexer last searched the chain."),
    "dead_letters": _gauge("zmart_dead_letters", "What the indexer gave up and nobody has put back."),
    "shards_owned": _gauge("zmart_virtual_shards_owned", "Virtual shards of 64 that have an owner."),
}
SAMPLED_AT = _gauge("zmart_figures_read_timestamp_seconds", "When these figures were last read, Unix time.")
log = structlog.get_logger("figures")


async def sample(figures: Figures) -> None:
    """Read and show for ever; while the database is away they stand still, and their timestamp says so."""
    while True:
        try:
            show(await figures.read())
            SAMPLED_AT.set(clock.wall_s())
        except StorageUnavailable as outage:
            log.debug("figures not read", why=str(outage))
        await asyncio.sleep(EVERY_S)


def show(found: Iterable[Figure]) -> None:
    """Put the figures into the gauges."""
    values = {(kind, label): 0.0 for kind, labels in _LABELS.items() for label in labels}
    values |= {(figure.kind, figure.label): figure.value for figure in found}
    for (kind, label), value in values.items():
        gauge = GAUGES[kind]
        (gauge.labels(label) if label else gauge).set(value)
