"""The server itself: what it answers to calls that no service sees, its health, and how it starts and stops."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sysconfig
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc import StatusCode
from grpc.aio import AioRpcError
from grpc_health.v1 import health_pb2, health_pb2_grpc
from structlog.testing import capture_logs

from grpc_server import PortTaken
from grpc_server.methods import HARD_BYTES_MAX, POLICIES, SMALL_BYTES_MAX
from identity import Tier
from tests.support.eventually import WAIT_S_MAX, eventually_async
from tests.support.grpc_parts import Person, Served, failure, market_id_of, observed, served
from zmart.v1 import vote_service_pb2 as pb
from zmart.v1.vote_service_pb2_grpc import VoteServiceStub

MARKET = market_id_of(1)
SERVICES = {f"zmart.v1.{name}Service" for name in ("Auth", "Vote", "Market", "Event", "Webhook", "Ops")}
SERVED = {
    "/zmart.v1.AuthService/CreateChallenge",
    "/zmart.v1.AuthService/SignIn",
    "/zmart.v1.AuthService/RefreshToken",
    "/zmart.v1.VoteService/CastProposalVote",
    "/zmart.v1.VoteService/CastDisputeVote",
    "/zmart.v1.VoteService/CastVotes",
    "/zmart.v1.VoteService/StreamVotes",
    "/zmart.v1.VoteService/GetTally",
    "/zmart.v1.VoteService/ListVotes",
    "/zmart.v1.VoteService/GetVoteProof",
    "/zmart.v1.VoteService/ExportVotes",
    "/zmart.v1.MarketService/GetMarket",
    "/zmart.v1.MarketService/ListMarkets",
    "/zmart.v1.MarketService/RegisterMarket",
    "/zmart.v1.MarketService/ApproveMarket",
    "/zmart.v1.MarketService/ActivateMarket",
    "/zmart.v1.MarketService/CancelMarket",
    "/zmart.v1.MarketService/FinalizeMarket",
    "/zmart.v1.MarketService/WatchMarket",
    "/zmart.v1.EventService/ListEvents",
    "/zmart.v1.EventService/SearchEvents",
    "/zmart.v1.OpsService/GetHealth",
    "/zmart.v1.OpsService/ListAlerts",
    "/zmart.v1.OpsService/AcknowledgeAlert",
    "/zmart.v1.OpsService/ResolveAlert",
    "/zmart.v1.OpsService/AggregateNow",
    "/zmart.v1.OpsService/ListAggregations",
    "/zmart.v1.OpsService/ListDiscrepancies",
    "/zmart.v1.OpsService/RunReconciliation",
    "/zmart.v1.OpsService/DescribeActor",
    "/zmart.v1.OpsService/ListShards",
    "/zmart.v1.OpsService/ListTransactions",
    "/zmart.v1.OpsService/ListConnections",
    "/zmart.v1.OpsService/KickConnections",
}


@pytest.fixture
async def running() -> AsyncIterator[Served]:
    async with served() as running:
        running.accounts.put(observed(1, Person().wallet))
        yield running


def vote(running: Served, **more: Any) -> grpc.aio.UnaryUnaryCall[Any, Any]:
    request = pb.CastProposalVoteRequest(market_id=MARKET, vote="like")
    return VoteServiceStub(running.channel).CastProposalVote(request, metadata=running.bearer(Person()), **more)


def raw(channel: grpc.aio.Channel, method: str) -> grpc.aio.UnaryUnaryMultiCallable[bytes, bytes]:
    """A method by name, bytes in and out."""
    return channel.unary_unary(method)


async def held_back(running: Served, count: int) -> list[grpc.aio.UnaryUnaryCall[Any, Any]]:
    """Calls that the actors have taken and do not answer yet."""
    running.town.gate.clear()
    calls = [vote(running) for _ in range(count)]
    waiting = [asyncio.ensure_future(call.code()) for call in calls]
    await eventually_async(lambda: _fact(running.server.in_flight == count and len(running.town.commands) >= count))
    assert not any(future.done() for future in waiting)
    return calls


# --- calls that no service sees ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", sorted(set(POLICIES) - SERVED))
async def test_what_is_not_built_yet_says_so(running: Served, method: str) -> None:
    failed = await failure(raw(running.channel, method)(b"", metadata=running.bearer(None, Tier.ADMIN)))
    assert (failed.code, failed.info.reason) == (StatusCode.UNIMPLEMENTED, "NOT_SERVED")
    assert failed.info.metadata["method"] == method


@pytest.mark.parametrize("method", ["/zmart.v1.VoteService/Nothing", "/zmart.v2.VoteService/GetTally", "/x/y"])
async def test_a_method_that_does_not_exist_says_so(running: Served, method: str) -> None:
    failed = await failure(raw(running.channel, method)(b""))
    assert (failed.code, failed.info.reason) == (StatusCode.UNIMPLEMENTED, "METHOD_UNKNOWN")


async def test_bytes_that_are_not_the_request_are_an_invalid_argument(running: Served) -> None:
    failed = await failure(raw(running.channel, "/zmart.v1.VoteService/GetTally")(b"\xff\xff\xff\xff"))
    assert (failed.code, failed.info.reason) == (StatusCode.INVALID_ARGUMENT, "REQUEST_MALFORMED")


async def test_a_request_above_its_methods_limit_is_refused_before_it_is_parsed(running: Served) -> None:
    call = raw(running.channel, "/zmart.v1.VoteService/GetTally")
    failed = await failure(call(b"\xff" * (SMALL_BYTES_MAX + 1)))
    assert (failed.code, failed.info.reason) == (StatusCode.INVALID_ARGUMENT, "MESSAGE_TOO_LARGE")
    assert failed.info.metadata["bytes_max"] == str(SMALL_BYTES_MAX)
    assert failed.info.metadata["bytes"] == str(SMALL_BYTES_MAX + 1)
    assert (await failure(call(b"\xff" * SMALL_BYTES_MAX))).info.reason == "REQUEST_MALFORMED"


async def test_a_request_above_the_hard_limit_is_refused_by_grpc_and_the_server_lives(running: Served) -> None:
    with pytest.raises(AioRpcError) as caught:
        await raw(running.channel, "/zmart.v1.VoteService/GetTally")(b"\xff" * (HARD_BYTES_MAX + 1))
    assert caught.value.code() is StatusCode.RESOURCE_EXHAUSTED
    assert (await vote(running)).success


async def test_a_bug_is_an_incident_whose_traceback_is_only_in_the_log(running: Served) -> None:
    running.town.outage = ZeroDivisionError("SELECT secret FROM somewhere")
    with capture_logs() as logs:
        failed = await failure(vote(running))
    assert (failed.code, failed.info.reason) == (StatusCode.INTERNAL, "INTERNAL")
    assert "secret" not in repr(failed)
    assert "ZeroDivision" not in repr(failed)
    (entry,) = [entry for entry in logs if entry["event"] == "unhandled"]
    assert entry["incident"] == failed.info.metadata["incident"]
    assert entry["exc_info"]


async def test_a_refusal_is_not_logged(running: Served) -> None:
    with capture_logs() as logs:
        await failure(raw(running.channel, "/zmart.v1.VoteService/ListVotes")(b""))
    assert logs == []


@pytest.mark.parametrize(("given", "kept"), [("abc-123", True), ("x" * 64, True), ("x" * 65, False), ("a b", False)])
async def test_a_call_keeps_its_name_or_gets_one(running: Served, given: str, kept: bool) -> None:
    call = raw(running.channel, "/zmart.v1.VoteService/ListVotes")
    failed = await failure(call(b"", metadata=(("x-request-id", given),)))
    assert (failed.request_id == given) is kept
    succeeded = vote(running)
    await succeeded
    assert dict(await succeeded.trailing_metadata())["x-request-id"]


async def test_a_call_without_a_deadline_gets_its_methods(running: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    quick = {name: replace(policy, deadline_s=0.05) for name, policy in POLICIES.items()}
    monkeypatch.setattr("grpc_server.pipeline.POLICIES", quick)
    async with served() as hurried:
        hurried.accounts.put(observed(1, Person().wallet))
        hurried.town.gate.clear()
        failed = await failure(vote(hurried))
    assert (failed.code, failed.info.reason) == (StatusCode.DEADLINE_EXCEEDED, "DEADLINE_PASSED")
    assert "repeat with the same request_id" in failed.message


async def test_a_caller_that_gives_up_takes_its_call_with_it(running: Served) -> None:
    (call,) = await held_back(running, 1)
    call.cancel()
    await eventually_async(lambda: _fact(running.server.in_flight == 0))


async def test_more_calls_than_the_server_takes_are_told_to_come_back() -> None:
    async with served(in_flight_max=2) as running:
        running.accounts.put(observed(1, Person().wallet))
        calls = await held_back(running, 2)
        failed = await failure(vote(running))
        assert (failed.code, failed.info.reason) == (StatusCode.UNAVAILABLE, "SERVER_BUSY")
        assert "google.rpc.RetryInfo" in failed.details
        running.town.gate.set()
        assert all([(await call).success for call in calls])
        assert (await vote(running)).success


# --- health, reflection -----------------------------------------------------------------------------------------------


async def checked(running: Served, service: str) -> int:
    stub = health_pb2_grpc.HealthStub(running.channel)
    answer = await stub.Check(health_pb2.HealthCheckRequest(service=service))
    return int(answer.status)


async def test_every_service_is_healthy_once_started(running: Served) -> None:
    for service in ("", *SERVICES):
        assert await checked(running, service) == health_pb2.HealthCheckResponse.SERVING


async def test_health_flips_before_the_server_stops(running: Served) -> None:
    (call,) = await held_back(running, 1)
    watch = health_pb2_grpc.HealthStub(running.channel).Watch(
        health_pb2.HealthCheckRequest(service="zmart.v1.VoteService")
    )
    assert (await watch.read()).status == health_pb2.HealthCheckResponse.SERVING
    stopping = asyncio.create_task(running.server.stop(20))
    assert (await watch.read()).status == health_pb2.HealthCheckResponse.NOT_SERVING
    assert not stopping.done()
    running.town.gate.set()
    assert (await call).success
    assert await stopping == 0


def grpcurl(*arguments: str) -> subprocess.CompletedProcess[str]:
    tool = Path(sysconfig.get_path("scripts")) / "grpcurl"
    return subprocess.run(
        [str(tool), "-plaintext", *arguments], capture_output=True, text=True, timeout=WAIT_S_MAX, check=False
    )


async def test_grpcurl_lists_the_services_by_reflection_and_reads_a_tally(running: Served) -> None:
    assert (await vote(running)).success
    listed = await asyncio.to_thread(grpcurl, running.target, "list")
    assert {"grpc.health.v1.Health", *SERVICES} <= set(listed.stdout.split())
    request = json.dumps({"market_id": MARKET})
    read = await asyncio.to_thread(grpcurl, "-d", request, running.target, "zmart.v1.VoteService/GetTally")
    assert json.loads(read.stdout)["proposal"]["likes"] == 1, read.stderr


async def test_reflection_can_be_turned_off() -> None:
    async with served(reflection=False) as running:
        listed = await asyncio.to_thread(grpcurl, running.target, "list")
        assert listed.returncode != 0


# --- start and stop ---------------------------------------------------------------------------------------------------


async def test_a_port_that_is_taken_is_fatal(running: Served) -> None:
    with pytest.raises(PortTaken, match=f"127.0.0.1:{running.server.port}"):
        async with served(port=running.server.port):
            pass


async def test_a_graceful_stop_lets_every_accepted_call_finish(running: Served) -> None:
    calls = await held_back(running, 25)
    stopping = asyncio.create_task(running.server.stop(20))
    await eventually_async(lambda: _stopping(running))
    running.town.gate.set()
    assert all([(await call).success for call in calls])
    assert await stopping == 0
    with pytest.raises(AioRpcError) as caught:
        await raw(running.channel, "/zmart.v1.VoteService/ListVotes")(b"")
    assert caught.value.code() is StatusCode.UNAVAILABLE


async def test_a_stop_under_load_fails_no_call_that_was_accepted(running: Served) -> None:
    taken: list[str] = []

    async def voter() -> StatusCode:
        while True:
            call = vote(running)
            if (code := await call.code()) is not StatusCode.OK:
                return code
            taken.append((await call).vote_id)

    voters = [asyncio.create_task(voter()) for _ in range(32)]
    await eventually_async(lambda: _fact(len(taken) >= 100))
    assert await running.server.stop(20) == 0
    assert set(await asyncio.gather(*voters)) == {StatusCode.UNAVAILABLE}
    assert running.town.markets[MARKET].proposal.yes_voters == len(taken)


async def _stopping(running: Served) -> bool:
    """Whether a newcomer is told to go elsewhere."""
    failed = await failure(raw(running.channel, "/zmart.v1.VoteService/ListVotes")(b""))
    return (failed.code, failed.info.reason) == (StatusCode.UNAVAILABLE, "SERVER_STOPPING")


async def test_what_outlasts_the_grace_period_is_cut_off_and_counted(running: Served) -> None:
    calls = await held_back(running, 3)
    assert await running.server.stop(0.05) == 3
    codes = [await call.code() for call in calls]
    assert set(codes) <= {StatusCode.UNAVAILABLE, StatusCode.CANCELLED}
    await eventually_async(lambda: _fact(running.server.in_flight == 0))


async def _fact(value: bool) -> bool:
    return value
