"""Alerts as operators see them, for the gRPC server."""

from __future__ import annotations

from collections.abc import Sequence

from app.retold import retold
from domain.alerts import AlertStatus, Severity, StoredAlert
from domain.ids import MarketId
from grpc_server import BookUnavailable
from storage.alerts import AlertReads


class Alerts:
    """Adapts storage's alerts to the gRPC server's port."""

    def __init__(self, reads: AlertReads) -> None:
        self._reads = reads

    async def list(
        self,
        severity: Severity | None,
        status: AlertStatus | None,
        market_id: MarketId | None,
        before: int | None,
        limit: int,
    ) -> Sequence[StoredAlert]:
        """A page of alerts."""
        with retold(BookUnavailable):
            return await self._reads.list(severity, status, market_id, before, limit)

    async def acknowledge(self, alert_id: str, now_s: float) -> StoredAlert | None:
        """Take note of it."""
        with retold(BookUnavailable):
            return await self._reads.acknowledge(alert_id, now_s)

    async def resolve(self, alert_id: str, now_s: float) -> StoredAlert | None:
        """It is over."""
        with retold(BookUnavailable):
            return await self._reads.resolve(alert_id, now_s)
