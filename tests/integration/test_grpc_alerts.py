"""Alerts over gRPC: a real server in front of real rows."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator

import pytest
from google.rpc import error_details_pb2
from grpc import StatusCode

from app.wiring_alert_book import Alerts
from domain.journal import AlertNote
from identity import Tier
from storage.alerts import AlertQueue, AlertReads
from storage.database import database_pool
from tests.support.grpc_parts import Person, Served, failure, served
from tests.support.markets import market_id
from zmart.v1 import ops_service_pb2 as pb
from zmart.v1.ops_service_pb2_grpc import OpsServiceStub


class Office:
    """An operator in front of the server, and who raises alerts behind it."""

    def __init__(self, running: Served, queue: AlertQueue) -> None:
        self.running, self.queue = running, queue
        self.stub = OpsServiceStub(running.channel)
        self.operator = running.bearer(None, Tier.ADMIN)

    async def raise_(self, key: str, severity: str = "HIGH") -> None:
        await self.queue.raise_alert(AlertNote("fee_cap", severity, key, market_id(), {"spent": "5"}))

    async def list(self, **wanted: object) -> pb.ListAlertsResponse:
        request = pb.ListAlertsRequest(**wanted)  # type: ignore[arg-type]
        return await self.stub.ListAlerts(request, metadata=self.operator)


@pytest.fixture
async def office(database_url: str) -> AsyncIterator[Office]:
    database = await database_pool(database_url, 2)
    async with served(alerts=Alerts(AlertReads(database))) as running:
        yield Office(running, AlertQueue(database))
    await database.close()


async def test_alerts_come_newest_first_in_pages_with_what_is_known_of_them(office: Office) -> None:
    for key in "abcde":
        await office.raise_(key)
    await office.raise_("e")
    found, token = list[pb.Alert](), ""
    while token or not found:
        page = await office.list(page_size=2, page_token=token)
        found += page.alerts
        token = page.next_page_token
    assert [alert.dedupe_key for alert in found] == list("edcba")
    first = found[0]
    assert uuid.UUID(first.id)
    assert (first.alert_type, first.severity, first.status) == ("fee_cap", "HIGH", "open")
    assert (first.market_id, dict(first.data), first.occurrences) == (market_id(), {"spent": "5"}, 2)
    assert first.last_at.ToDatetime() >= first.created_at.ToDatetime()
    assert not first.HasField("acknowledged_at")
    assert not first.HasField("resolved_at")


async def test_lists_are_by_severity_status_and_market(office: Office) -> None:
    await office.raise_("a", "LOW")
    await office.raise_("b", "CRITICAL")
    (critical,) = (await office.list(severity="CRITICAL")).alerts
    await office.stub.AcknowledgeAlert(pb.AcknowledgeAlertRequest(id=critical.id), metadata=office.operator)
    assert [alert.dedupe_key for alert in (await office.list(status="acknowledged")).alerts] == ["b"]
    assert [alert.dedupe_key for alert in (await office.list(status="open", market_id=market_id())).alerts] == ["a"]
    assert (await office.list(market_id=market_id(2))).alerts == []


async def test_an_alert_is_acknowledged_and_resolved_and_comes_anew_after_that(office: Office) -> None:
    await office.raise_("a")
    alert_id = (await office.list()).alerts[0].id
    noted = await office.stub.AcknowledgeAlert(pb.AcknowledgeAlertRequest(id=alert_id), metadata=office.operator)
    assert noted.alert.status == "acknowledged"
    request = pb.ResolveAlertRequest(id=alert_id.upper())
    over = await office.stub.ResolveAlert(request, metadata=office.operator)
    assert (over.alert.status, over.alert.acknowledged_at) == ("resolved", noted.alert.acknowledged_at)
    assert over.alert.HasField("resolved_at")
    await office.raise_("a")
    assert [alert.status for alert in (await office.list()).alerts] == ["open", "resolved"]


async def test_an_id_that_is_not_known_is_not_found(office: Office) -> None:
    unknown = str(uuid.uuid4())
    failed = await failure(office.stub.ResolveAlert(pb.ResolveAlertRequest(id=unknown), metadata=office.operator))
    assert (failed.code, failed.info.reason) == (StatusCode.NOT_FOUND, "ALERT_NOT_FOUND")
    named = failed.detail(error_details_pb2.ResourceInfo)
    assert (named.resource_type, named.resource_name) == ("zmart.v1.Alert", unknown)


@pytest.mark.parametrize(
    ("request_", "reason"),
    [
        (pb.ListAlertsRequest(severity="URGENT"), "SEVERITY_UNKNOWN"),
        (pb.ListAlertsRequest(status="done"), "ALERT_STATUS_UNKNOWN"),
        (pb.ListAlertsRequest(market_id="x"), "MARKET_ID_MALFORMED"),
        (pb.ListAlertsRequest(page_token="x"), "PAGE_TOKEN_INVALID"),
        (pb.ListAlertsRequest(page_size=-1), "PAGE_SIZE_NEGATIVE"),
    ],
)
async def test_a_list_of_something_else_is_refused(office: Office, request_: pb.ListAlertsRequest, reason: str) -> None:
    failed = await failure(office.stub.ListAlerts(request_, metadata=office.operator))
    assert (failed.code, failed.info.reason) == (StatusCode.INVALID_ARGUMENT, reason)


async def test_an_id_that_is_no_uuid_is_refused(office: Office) -> None:
    call = office.stub.AcknowledgeAlert(pb.AcknowledgeAlertRequest(id="7"), metadata=office.operator)
    assert (await failure(call)).info.reason == "ALERT_ID_MALFORMED"


async def test_alerts_are_for_operators(office: Office) -> None:
    wallet = office.running.bearer(Person())
    for call in (
        office.stub.ListAlerts(pb.ListAlertsRequest(), metadata=wallet),
        office.stub.AcknowledgeAlert(pb.AcknowledgeAlertRequest(id=str(uuid.uuid4())), metadata=wallet),
        office.stub.ResolveAlert(pb.ResolveAlertRequest(id=str(uuid.uuid4())), metadata=wallet),
    ):
        assert (await failure(call)).info.reason == "TIER_TOO_LOW"
