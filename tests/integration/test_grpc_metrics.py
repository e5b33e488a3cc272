"""Every call is counted and timed under gRFC A66's names, by method and by how it ended."""

from __future__ import annotations

import pytest
from grpc import StatusCode
from prometheus_client import REGISTRY

from tests.support.grpc_failures import failure
from tests.support.grpc_parts import market_id_of, served
from zmart.v1.ops_service_pb2 import GetHealthRequest, ListAlertsRequest
from zmart.v1.ops_service_pb2_grpc import OpsServiceStub
from zmart.v1.vote_service_pb2 import GetTallyRequest
from zmart.v1.vote_service_pb2_grpc import VoteServiceStub

HEALTH, TALLY = "zmart.v1.OpsService/GetHealth", "zmart.v1.VoteService/GetTally"
ALERTS = "zmart.v1.OpsService/ListAlerts"
SERVER = "grpc_server_call"


def figure(name: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(name, labels) or 0.0


def figures(method: str, status: str) -> tuple[float, float, float, float]:
    return (
        figure(f"{SERVER}_started_total", grpc_method=method),
        figure(f"{SERVER}_duration_seconds_count", grpc_method=method, grpc_status=status),
        figure(f"{SERVER}_rcvd_total_compressed_message_size_bytes_count", grpc_method=method),
        figure(f"{SERVER}_sent_total_compressed_message_size_bytes_count", grpc_method=method),
    )


def moved(before: tuple[float, ...], after: tuple[float, ...]) -> tuple[float, ...]:
    return tuple(b - a for a, b in zip(before, after, strict=True))


async def test_a_call_is_counted_timed_and_weighed() -> None:
    async with served() as running:
        before = figures(HEALTH, "OK")
        await OpsServiceStub(running.channel).GetHealth(GetHealthRequest())
    assert moved(before, figures(HEALTH, "OK")) == (1, 1, 1, 1)


@pytest.mark.parametrize(("market", "status"), [("not an id", "INVALID_ARGUMENT"), (market_id_of(5), "NOT_FOUND")])
async def test_a_refused_call_is_counted_under_its_status_and_sends_nothing(market: str, status: str) -> None:
    async with served() as running:
        before = figures(TALLY, status)
        failed = await failure(VoteServiceStub(running.channel).GetTally(GetTallyRequest(market_id=market)))
        assert failed.code is StatusCode[status]
    assert moved(before, figures(TALLY, status)) == (1, 1, 1, 0)


async def test_a_caller_who_is_turned_away_is_counted_too() -> None:
    async with served() as running:
        before = figures(ALERTS, "UNAUTHENTICATED")
        failed = await failure(OpsServiceStub(running.channel).ListAlerts(ListAlertsRequest()))
        assert failed.code is StatusCode.UNAUTHENTICATED
    assert moved(before, figures(ALERTS, "UNAUTHENTICATED")) == (1, 1, 1, 0)
