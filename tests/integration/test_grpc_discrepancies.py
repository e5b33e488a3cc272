"""What operators see of the reconciliation, through a real server on loopback."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator
from datetime import UTC, datetime

import pytest
from grpc import StatusCode

from domain.discrepancies import DiscrepancyPlace, RunResult, StoredDiscrepancy
from domain.ids import Wallet
from grpc_server.ops_discrepancies import ANSWER_S_MAX
from identity import Tier
from tests.support.eventually import eventually_async
from tests.support.grpc_events import START_S
from tests.support.grpc_parts import Person, Served, failure, market_id_of, served
from zmart.v1 import ops_service_pb2 as pb
from zmart.v1.ops_service_pb2_grpc import OpsServiceStub

MARKET, OTHER = market_id_of(1), market_id_of(2)


@pytest.fixture
async def running() -> AsyncIterator[Served]:
    async with served() as running:
        yield running


def found(number: int, wallet: Wallet | None = None) -> StoredDiscrepancy:
    at = datetime.fromtimestamp(START_S + number, UTC)
    place = DiscrepancyPlace((START_S + number) * 1_000_000, str(uuid.UUID(int=number)))
    return StoredDiscrepancy(place, MARKET, wallet, "state", "ACTIVE", "RESOLVING", 70 + number, True, at)


async def test_discrepancies_come_newest_first_in_pages(running: Served) -> None:
    running.desk.rows += [found(n, Person().wallet if n == 2 else None) for n in range(5)]
    stub, admin = OpsServiceStub(running.channel), running.bearer(None, Tier.ADMIN)
    first = await stub.ListDiscrepancies(pb.ListDiscrepanciesRequest(page_size=3), metadata=admin)
    second = await stub.ListDiscrepancies(
        pb.ListDiscrepanciesRequest(page_size=3, page_token=first.next_page_token), metadata=admin
    )
    shown = [*first.discrepancies, *second.discrepancies]
    assert [row.observed_slot for row in shown] == [74, 73, 72, 71, 70]
    assert [row.user_pubkey for row in shown if row.user_pubkey] == [running.desk.rows[2].wallet]
    newest = shown[0]
    assert (newest.market_id, newest.field, newest.database_value, newest.chain_value, newest.repaired) == (
        MARKET,
        "state",
        "ACTIVE",
        "RESOLVING",
        True,
    )
    assert (newest.detected_at.seconds, second.next_page_token) == (START_S + 4, "")


async def test_a_run_is_asked_for_and_its_result_answered(running: Served) -> None:
    running.desk.answer = RunResult(checked=7, discrepancies=2, repaired=1)
    stub, admin = OpsServiceStub(running.channel), running.bearer(None, Tier.ADMIN)
    answer = await stub.RunReconciliation(pb.RunReconciliationRequest(market_id=OTHER), metadata=admin)
    assert (answer.checked, answer.discrepancies, answer.repaired) == (7, 2, 1)
    await stub.RunReconciliation(pb.RunReconciliationRequest(), metadata=admin)
    assert running.desk.asked == [OTHER, None]


async def test_a_run_that_does_not_end_is_not_waited_for_for_ever(running: Served) -> None:
    running.desk.answer = None
    stub = OpsServiceStub(running.channel)
    call = asyncio.ensure_future(
        stub.RunReconciliation(pb.RunReconciliationRequest(), metadata=running.bearer(None, Tier.ADMIN))
    )

    async def asked() -> bool:
        return bool(running.desk.asked)

    await eventually_async(asked)
    running.clock.at_s += int(ANSWER_S_MAX) + 1
    failed = await failure(call)
    assert (failed.code, failed.info.reason) == (StatusCode.UNAVAILABLE, "RECONCILIATION_UNANSWERED")


async def test_a_run_that_failed_says_so(running: Served) -> None:
    running.desk.answer = RunResult(error="the chain does not answer")
    call = OpsServiceStub(running.channel).RunReconciliation(
        pb.RunReconciliationRequest(), metadata=running.bearer(None, Tier.ADMIN)
    )
    assert (await failure(call)).info.reason == "RECONCILIATION_UNANSWERED"


async def test_only_admins_see_and_start_it(running: Served) -> None:
    stub, wallet = OpsServiceStub(running.channel), running.bearer(Person())
    for call in (
        stub.ListDiscrepancies(pb.ListDiscrepanciesRequest(), metadata=wallet),
        stub.RunReconciliation(pb.RunReconciliationRequest(), metadata=wallet),
    ):
        assert (await failure(call)).info.reason == "TIER_TOO_LOW"
    assert running.desk.asked == []
