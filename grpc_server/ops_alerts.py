"""What operators see of alerts and do about them: lists, acknowledging, resolving."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import datetime

from google.protobuf.struct_pb2 import Struct
from google.protobuf.timestamp_pb2 import Timestamp

from domain.alerts import AlertStatus, DeliveryState, Severity, StoredAlert
from grpc_server import translate
from grpc_server.page_tokens import PageTokens
from grpc_server.ports import AlertBook
from grpc_server.problems import AlertNotFound, Invalid, Rejected, violation
from zmart.v1 import ops_service_pb2 as pb

_UUID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_UINT32_MAX = 2**32 - 1


class Alerts:
    """Reads and marks alerts as last committed; `now_s` is Unix seconds."""

    def __init__(self, book: AlertBook, page_tokens: PageTokens, now_s: Callable[[], int]) -> None:
        self._book, self._page_tokens, self._now_s = book, page_tokens, now_s

    async def list(self, request: pb.ListAlertsRequest) -> pb.ListAlertsResponse:
        """Answer one page, newest first."""
        severity, status = _severity(request.severity), _status(request.status)
        market_id = translate.market_id(request.market_id) if request.market_id else None
        size = translate.page_size(request.page_size)
        conditions = f"ListAlerts severity={severity} status={status} market={market_id}"
        place = self._page_tokens.read(request.page_token, conditions)
        rows = list(await self._book.list(severity, status, market_id, place[0] if place else None, size + 1))
        last = rows[size - 1] if len(rows) > size else None
        token = self._page_tokens.issue((last.number, last.alert_id), conditions) if last else ""
        return pb.ListAlertsResponse(alerts=[_shown(row) for row in rows[:size]], next_page_token=token)

    async def acknowledge(self, request: pb.AcknowledgeAlertRequest) -> pb.AcknowledgeAlertResponse:
        """Take note; the first time stands."""
        alert_id = _alert_id(request.id)
        return pb.AcknowledgeAlertResponse(
            alert=_found(alert_id, await self._book.acknowledge(alert_id, self._now_s()))
        )

    async def resolve(self, request: pb.ResolveAlertRequest) -> pb.ResolveAlertResponse:
        """It is over; the first time stands."""
        alert_id = _alert_id(request.id)
        return pb.ResolveAlertResponse(alert=_found(alert_id, await self._book.resolve(alert_id, self._now_s())))


def _severity(word: str) -> Severity | None:
    if word and word not in Severity.__members__:
        raise violation(Invalid.SEVERITY_UNKNOWN, "severity", word)
    return Severity(word) if word else None


def _status(word: str) -> AlertStatus | None:
    if word and word.upper() not in AlertStatus.__members__:
        raise violation(Invalid.ALERT_STATUS_UNKNOWN, "status", word)
    return AlertStatus(word.lower()) if word else None


def _alert_id(text: str) -> str:
    if not _UUID.fullmatch(text):
        raise violation(Invalid.ALERT_ID_MALFORMED, "id", text)
    return text.lower()


def _found(alert_id: str, alert: StoredAlert | None) -> pb.Alert:
    if alert is None:
        raise Rejected(AlertNotFound(alert_id))
    return _shown(alert)


def _shown(alert: StoredAlert) -> pb.Alert:
    data = Struct()
    data.update(dict(alert.data))
    return pb.Alert(
        id=alert.alert_id,
        alert_type=alert.alert_type,
        severity=alert.severity.value,
        status=alert.status.value,
        market_id=alert.market_id or "",
        data=data,
        created_at=_instant(alert.created_at),
        acknowledged_at=_instant(alert.acknowledged_at),
        occurrences=min(alert.occurrences, _UINT32_MAX),
        last_at=_instant(alert.last_at),
        resolved_at=_instant(alert.resolved_at),
        dedupe_key=alert.dedupe_key,
        deliveries=[_delivery(state) for state in alert.deliveries],
    )


def _delivery(state: DeliveryState) -> pb.AlertDelivery:
    return pb.AlertDelivery(
        sink=state.sink,
        occasion=state.occasion.value,
        status=state.status,
        attempts=state.attempts,
        last_error=state.last_error,
    )


def _instant(instant: datetime | None) -> Timestamp | None:
    if instant is None:
        return None
    stamp = Timestamp()
    stamp.FromDatetime(instant)
    return stamp
