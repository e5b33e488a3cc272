"""A caller's deadline reaches the statement that the call waits for: nothing goes on for somebody who has left."""

from __future__ import annotations

import asyncpg
from grpc import StatusCode
from grpc.aio import AioRpcError

from app.wiring_alert_book import Alerts
from identity import Tier
from storage.alerts import AlertReads
from storage.database import database_pool
from tests.support.eventually import eventually_async
from tests.support.grpc_parts import served
from zmart.v1.ops_service_pb2 import ListAlertsRequest
from zmart.v1.ops_service_pb2_grpc import OpsServiceStub

DEADLINE_S = 3.0
WAITING = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'deadline' AND wait_event_type = 'Lock'"


async def test_a_deadline_that_passes_cancels_the_statement_in_the_database(database_url: str) -> None:
    database = await database_pool(database_url, 1, "deadline")
    other, watch = await asyncpg.connect(database_url), await asyncpg.connect(database_url)
    lock = other.transaction()
    await lock.start()
    await other.execute("LOCK TABLE alerts IN ACCESS EXCLUSIVE MODE")

    async def is_waiting() -> bool:
        return bool(await watch.fetchval(WAITING))

    async def is_idle() -> bool:
        return not await is_waiting()

    async with served(alerts=Alerts(AlertReads(database))) as running:
        stub, admin = OpsServiceStub(running.channel), running.bearer(None, Tier.ADMIN)
        call = stub.ListAlerts(ListAlertsRequest(), metadata=admin, timeout=DEADLINE_S)
        await eventually_async(is_waiting)
        try:
            await call
        except AioRpcError as error:
            assert error.code() is StatusCode.DEADLINE_EXCEEDED
        else:
            raise AssertionError("the table was locked")
        await eventually_async(is_idle)
        await lock.rollback()
        assert not (await stub.ListAlerts(ListAlertsRequest(), metadata=admin)).alerts  # the connection is whole
        assert running.server.in_flight == 0
    await other.close()
    await watch.close()
    await database.close()
