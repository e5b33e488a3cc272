"""A caller's deadline reaches whatever the call waits for, and none is begun that nobody could hear the end of."""

from __future__ import annotations

from typing import Any

import asyncpg
import pytest
from grpc import StatusCode
from grpc.aio import AioRpcError

from app.wiring_alert_book import Alerts
from identity import Tier
from storage.alerts import AlertReads
from storage.database import database_pool
from tests.support.eventually import eventually_async
from tests.support.grpc_parts import Person, failure, market_id_of, observed, served
from zmart.v1.ops_service_pb2 import ListAlertsRequest
from zmart.v1.ops_service_pb2_grpc import OpsServiceStub
from zmart.v1.vote_service_pb2 import CastProposalVoteRequest
from zmart.v1.vote_service_pb2_grpc import VoteServiceStub

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

    async def seen_waiting(call: Any) -> bool:
        async def is_known() -> bool:
            return await is_waiting() or call.done()

        await eventually_async(is_known)
        return not call.done()

    async with served(alerts=Alerts(AlertReads(database))) as running:
        stub, admin = OpsServiceStub(running.channel), running.bearer(None, Tier.ADMIN)
        call = stub.ListAlerts(ListAlertsRequest(), metadata=admin, timeout=DEADLINE_S)
        while not await seen_waiting(call):  # the machine stood for the three seconds
            await eventually_async(is_idle)
            call = stub.ListAlerts(ListAlertsRequest(), metadata=admin, timeout=DEADLINE_S)
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


async def test_a_call_with_less_than_five_milliseconds_left_is_not_begun() -> None:
    async with served() as running:
        running.accounts.put(observed(1, Person().wallet))
        stub, vote = VoteServiceStub(running.channel), CastProposalVoteRequest(market_id=market_id_of(1), vote="like")
        for _ in range(50):  # of 1 ms, which grpc rounds up to 3 at most
            hurried = stub.CastProposalVote(vote, metadata=running.bearer(Person()), timeout=0.001)
            assert await hurried.code() is StatusCode.DEADLINE_EXCEEDED
        assert (await stub.CastProposalVote(vote, metadata=running.bearer(Person()))).vote_count.likes == 1


async def test_a_refused_deadline_has_its_own_reason_and_comes_before_the_question_who_asks(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("grpc_server.interceptors.LEFT_S_MIN", 120.0)
    async with served() as running:
        stub = OpsServiceStub(running.channel)
        failed = await failure(stub.ListAlerts(ListAlertsRequest(), metadata=(("authorization", "?"),), timeout=60))
        assert (failed.code, failed.info.reason) == (StatusCode.DEADLINE_EXCEEDED, "DEADLINE_TOO_SHORT")
        assert dict(failed.info.metadata) == {"needed_ms": "120000"}
        failed = await failure(stub.ListAlerts(ListAlertsRequest()))
        assert failed.info.reason == "TOKEN_MISSING", "without a deadline of its own it has its method's"
