"""The front door's own manners, by the real Envoy: what it lets through, answers itself and writes down."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from typing import Any

import aiohttp
import grpc
import httpx
import pytest

from domain.disputes import MARGIN_S
from domain.intents import Action
from domain.lifecycle import Lifecycle
from grpc_server.methods import POLICIES
from identity import Tier
from tests.support.eventually import WAIT_S_MAX, eventually_async
from tests.support.front import Front, running_front
from tests.support.grpc_parts import CONFIG, START_S, Person, Served, market_id_of, observed, served
from tests.support.three_doors import Rpc, ThreeDoors, without
from zmart.v1.market_service_pb2 import ListMarketsRequest
from zmart.v1.market_service_pb2_grpc import MarketServiceStub
from zmart.v1.vote_service_pb2 import CastProposalVoteRequest
from zmart.v1.vote_service_pb2_grpc import VoteServiceStub

JSON = {"content-type": "application/json"}
CHALLENGE = "/api/auth/challenge"
TALLY = "/zmart.v1.VoteService/GetTally"
DEEP = b'{"address":' * 200 + b"1" + b"}" * 200
SECRET = "eyJhbGciOiJFZERTQSJ9.c2VjcmV0"


@pytest.fixture(scope="module")
def front(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Front]:
    with running_front(tmp_path_factory.mktemp("front")) as front:
        yield front


@pytest.fixture
async def behind(front: Front) -> AsyncIterator[Served]:
    async with served(port=front.grpc_port) as running:
        yield running


@pytest.fixture
async def client(front: Front) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=front.url, timeout=WAIT_S_MAX) as opened:
        yield opened


def own_answer(answer: httpx.Response) -> tuple[int, int, str]:
    """HTTP status, status code and reason, of an answer in the contract's shape."""
    status = answer.json()
    (info,) = status["details"]
    assert answer.headers["content-type"] == "application/json"
    assert (info["@type"], info["domain"]) == ("type.googleapis.com/google.rpc.ErrorInfo", "zmart.dev")
    assert isinstance(status["message"], str)
    assert all(isinstance(value, str) for value in info.get("metadata", {}).values())
    return answer.status_code, status["code"], info["reason"]


@pytest.mark.parametrize(
    ("method", "path", "more", "status", "reason"),
    [
        ("GET", "/nowhere", {}, 404, "ENVOY_NOT_FOUND"),
        ("GET", "/api/nowhere", {}, 404, "ENVOY_NOT_FOUND"),
        ("DELETE", "/api/markets", {}, 404, "ENVOY_NOT_FOUND"),
        ("GET", "/api/events?bogus=1", {}, 400, "ENVOY_BAD_REQUEST"),
        ("GET", "/api%2Fmarkets", {}, 400, "ENVOY_BAD_REQUEST"),
        ("GET", "/api/markets", {"headers": {"x_service_key": "k"}}, 400, "ENVOY_BAD_REQUEST"),
        ("GET", "/api/markets", {"headers": {"x-long": "a" * 20_000}}, 431, "ENVOY_HEADERS_TOO_LARGE"),
        ("GET", "/api/markets", {"headers": {f"x-{i}": "a" for i in range(80)}}, 431, "ENVOY_HEADERS_TOO_LARGE"),
        ("POST", CHALLENGE, {"content": b"{bad", "headers": JSON}, 400, "ENVOY_BAD_REQUEST"),
        ("POST", CHALLENGE, {"content": b'{"address":5}', "headers": JSON}, 400, "ENVOY_BAD_REQUEST"),
        ("POST", CHALLENGE, {"content": DEEP, "headers": JSON}, 400, "ENVOY_BAD_REQUEST"),
        ("POST", CHALLENGE, {"content": b" " * 65_537, "headers": JSON}, 413, "ENVOY_PAYLOAD_TOO_LARGE"),
        ("POST", "/webhooks/events", {"content": b" " * 4_194_305}, 413, "ENVOY_PAYLOAD_TOO_LARGE"),
        (
            "POST",
            "/zmart.v1.VoteService/GetTally",
            {"content": b"{}", "headers": JSON},
            415,
            "ENVOY_UNSUPPORTED_MEDIA_TYPE",
        ),
    ],
)
async def test_what_envoy_refuses_itself_has_the_contracts_shape(
    client: httpx.AsyncClient, behind: Served, method: str, path: str, more: dict[str, Any], status: int, reason: str
) -> None:
    answer = await client.request(method, path, **more)
    assert own_answer(answer) == (status, 5 if status == 404 else 3, reason)
    assert (await client.get("/api/markets")).status_code == 200  # and the door is still open


async def test_a_server_that_is_away_is_unavailable_in_json_and_in_grpc(
    client: httpx.AsyncClient, front: Front
) -> None:
    assert own_answer(await client.get("/api/markets")) == (503, 14, "ENVOY_UPSTREAM_UNAVAILABLE")
    async with grpc.aio.insecure_channel(front.target) as channel:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await MarketServiceStub(channel).ListMarkets(ListMarketsRequest(), timeout=WAIT_S_MAX)
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
    assert "{" not in (caught.value.details() or "")


async def test_zeros_are_printed_names_stay_and_unknown_fields_of_a_body_are_ignored(
    client: httpx.AsyncClient, behind: Served
) -> None:
    assert (await client.get("/api/events")).json() == {
        "events": [],
        "total_count": 0,
        "has_more": False,
        "next_page_token": "",
    }
    answer = await client.post(CHALLENGE, json={"address": market_id_of(7), "unknown": {"deeper": [1]}})
    assert (answer.status_code, sorted(answer.json())) == (200, ["expires_at", "message", "nonce"])


async def test_every_answer_has_our_own_request_id_and_none_tells_what_runs_here(
    client: httpx.AsyncClient, behind: Served
) -> None:
    answers = [await client.get(path, headers={"x-request-id": "mine"}) for path in ("/", "/nowhere", "/api/markets")]
    ids = {answer.headers["x-request-id"] for answer in answers}
    assert len(ids) == 3
    assert "mine" not in ids
    assert {answer.headers["server"] for answer in answers} == {"zmart"}
    assert not [name for answer in answers for name in answer.headers if name.startswith("x-envoy")]


async def test_pages_may_read_what_explains_an_error(client: httpx.AsyncClient, behind: Served) -> None:
    answer = await client.get("/api/markets/abc", headers={"origin": "http://localhost:5173"})
    exposed = set(answer.headers["access-control-expose-headers"].split(", "))
    assert {"grpc-status", "grpc-message", "grpc-status-details-bin", "x-request-id", "retry-after"} <= exposed


async def test_the_access_log_is_json_and_holds_no_query_and_no_secret(
    client: httpx.AsyncClient, behind: Served, front: Front
) -> None:
    headers = {"authorization": f"Bearer {SECRET}", "x-service-key": SECRET}
    answer = await client.get(f"/ws?token={SECRET}", headers=headers)
    written, request_id = front.log_with([answer]), answer.headers["x-request-id"]
    mine = [line for line in front.access_log() if line.get("request_id") == request_id]
    assert (mine[0]["method"], mine[0]["path"], mine[0]["status"]) == ("GET", "/ws", 503)
    assert SECRET not in written


async def test_the_console_is_one_page_that_may_talk_to_nobody_else(client: httpx.AsyncClient) -> None:
    answer = await client.get("/")
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert "connect-src 'self'" in answer.headers["content-security-policy"]
    assert "<title>" in answer.text


async def test_every_service_of_the_contract_is_in_the_transcoder(front: Front) -> None:
    configured = front.envoy.config_file.read_text()
    assert not [name for name in {path.split("/")[1] for path in POLICIES} if f"- {name}\n" not in configured]


async def test_a_stop_under_load_fails_no_accepted_call_through_envoy_either(front: Front) -> None:
    taken: list[object] = []
    refused: list[object] = []
    async with (
        served(port=front.grpc_port) as running,
        grpc.aio.insecure_channel(front.target) as channel,
        httpx.AsyncClient(base_url=front.url, timeout=WAIT_S_MAX) as http,
    ):
        running.accounts.put(observed(1, Person().wallet))
        market_id = market_id_of(1)

        async def by_grpc() -> None:
            stub = VoteServiceStub(channel)
            while not refused:
                request = CastProposalVoteRequest(market_id=market_id, vote="like")
                call = stub.CastProposalVote(request, metadata=running.bearer(Person()), timeout=WAIT_S_MAX)
                (taken if await call.code() is grpc.StatusCode.OK else refused).append(await call.code())

        async def by_rest() -> None:
            while not refused:
                headers = dict(running.bearer(Person()))
                body = {"market_id": market_id, "vote": "like"}
                answer = await http.post("/api/votes/proposal", json=body, headers=headers)
                (taken if answer.status_code == 200 else refused).append(answer.status_code)

        voters = [asyncio.create_task(voter()) for voter in [by_grpc] * 16 + [by_rest] * 8]

        async def is_busy() -> bool:
            return len(taken) >= 100

        await eventually_async(is_busy)
        assert await running.server.stop(20) == 0
        await asyncio.gather(*voters)
        assert set(refused) <= {grpc.StatusCode.UNAVAILABLE, 503}
        assert running.town.markets[market_id].proposal.yes_voters == len(taken)


async def test_a_market_that_is_due_is_finalized_the_same_through_each_door(
    front: Front, behind: Served, client: httpx.AsyncClient
) -> None:
    """Of a whole system every market that is due is ended before anybody can ask."""
    for number in (1, 2, 3):
        market = observed(number, Person().wallet, Lifecycle.RESOLVING)
        due_s = START_S - CONFIG.dispute_period_s - MARGIN_S
        behind.accounts.put(replace(market, resolution_proposed_at_s=due_s, proposed_outcome=True))
    await eventually_async(lambda: _is_ready(client))
    rpc, admin = Rpc("/zmart.v1.MarketService/FinalizeMarket"), dict(behind.bearer(None, Tier.ADMIN))
    async with aiohttp.ClientSession() as http:
        doors = ThreeDoors(behind.channel, http, front.url)
        through = doors.by_grpc, doors.by_grpc_web, doors.by_rest
        answers = [await by(rpc, {"market_id": market_id_of(n)}, admin) for n, by in enumerate(through, 1)]
    assert [answer.code for answer in answers] == [0, 0, 0]
    planned = behind.town.attempts.planned.values()
    assert [(each.market_id, each.action) for each in planned] == [
        (market_id_of(n), Action.FINALIZE) for n in (1, 2, 3)
    ]
    assert [answer.body["transaction_id"] for answer in answers] == [each.intent_id for each in planned]
    told = [without(answer.body, frozenset({"market_id", "transaction_id"})) for answer in answers]
    assert told[1:] == told[:-1]


async def _is_ready(client: httpx.AsyncClient) -> bool:
    """Envoy may still know the server of the test before as gone."""
    return (await client.get("/api/markets")).status_code == 200
