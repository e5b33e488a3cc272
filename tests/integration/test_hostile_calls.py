"""Hostile calls through the real Envoy and past it: each gets its answer, others theirs, and no log has a secret."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from grpc import StatusCode
from structlog.testing import capture_logs

from identity import Tier, Tokens
from identity.keys import signing_key
from tests.support import frames
from tests.support.eventually import WAIT_S_MAX, eventually_async
from tests.support.front import Front, running_front
from tests.support.grpc_parts import SERVICE_KEY, Person, Served, failure, market_id_of, observed, served
from zmart.v1 import market_service_pb2 as pb
from zmart.v1.market_service_pb2_grpc import MarketServiceStub

MARKETS, CHALLENGE, SIGN_IN = "/api/markets", "/api/auth/challenge", "/api/auth/sign-in"
JSON = {"content-type": "application/json"}
LIST = "/zmart.v1.MarketService/ListMarkets"
RESETS = 2_000
DEEP = b'{"address":' * 5_000 + b"1" + b"}" * 5_000
LIMITS = {Tier.ANONYMOUS: 400, Tier.WALLET: 2}


@pytest.fixture(scope="module")
def front(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Front]:
    with running_front(tmp_path_factory.mktemp("front")) as front:
        yield front


@pytest.fixture
def impatient(front: Front, tmp_path: Path) -> Iterator[Front]:
    """Another Envoy before the same server, which soon ends what is silent."""
    with running_front(tmp_path, stream_idle_timeout_s=1, grpc_port=front.grpc_port) as front:
        yield front


@pytest.fixture
async def behind(front: Front) -> AsyncIterator[Served]:
    async with served(port=front.grpc_port, per_min=LIMITS) as running:
        running.accounts.put(observed(1, Person().wallet))
        yield running


@pytest.fixture
async def client(front: Front, behind: Served) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=front.url, timeout=WAIT_S_MAX) as opened:
        await eventually_async(lambda: _answers(opened))  # Envoy may still know the server of the test before as gone
        yield opened


async def _answers(client: httpx.AsyncClient) -> bool:
    return (await client.get(MARKETS)).status_code == 200


def reason_of(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["details"][0]["reason"]


# --- tokens -----------------------------------------------------------------------------------------------------------


def unsigned(behind: Served) -> str:
    head, body, _ = behind.tokens.issue(Person().wallet, Tier.ADMIN).token.split(".")
    header = json.loads(base64.urlsafe_b64decode(head + "==")) | {"alg": "none"}
    return f"{base64.urlsafe_b64encode(json.dumps(header).encode()).rstrip(b'=').decode()}.{body}."


def altered(behind: Served) -> str:
    """A wallet's token that says it is an admin's."""
    head, body, signature = behind.tokens.issue(Person().wallet, Tier.WALLET).token.split(".")
    claims = json.loads(base64.urlsafe_b64decode(body + "==")) | {"tier": "admin"}
    return f"{head}.{base64.urlsafe_b64encode(json.dumps(claims).encode()).rstrip(b'=').decode()}.{signature}"


def by_others(behind: Served, audience: str, own_key: bool) -> str:
    key = behind.tokens._key if own_key else signing_key(Ed25519PrivateKey.generate())
    issuer = Tokens(key, (), "zmart", audience, behind.clock.now_s, lambda: "id")
    return issuer.issue(Person().wallet, Tier.WALLET).token


HOSTILE_TOKENS: dict[str, tuple[Callable[[Served], str], str]] = {
    "alg none": (unsigned, "TOKEN_ALGORITHM_REFUSED"),
    "a key that is not ours": (lambda behind: by_others(behind, "zmart-api", False), "TOKEN_KEY_UNKNOWN"),
    "for somebody else": (lambda behind: by_others(behind, "other", True), "TOKEN_AUDIENCE_MISMATCH"),
    "expired": (lambda behind: behind.tokens.issue(Person().wallet, Tier.WALLET, 0).token, "TOKEN_EXPIRED"),
    "altered": (altered, "TOKEN_SIGNATURE_INVALID"),
    "no token": (lambda _: "x.y.z", "TOKEN_MALFORMED"),
    "huge": (lambda _: "a" * 4_000, "TOKEN_MALFORMED"),
}


@pytest.mark.parametrize("case", HOSTILE_TOKENS)
async def test_a_hostile_token_is_401_with_its_own_reason_by_either_door_and_in_no_log(
    client: httpx.AsyncClient, behind: Served, front: Front, case: str
) -> None:
    make, reason = HOSTILE_TOKENS[case]
    token = make(behind)
    with capture_logs() as logs:
        answer = await client.get(MARKETS, headers={"authorization": f"Bearer {token}"})
        assert reason_of(answer) == (401, reason)
        call = MarketServiceStub(behind.channel).ListMarkets(
            pb.ListMarketsRequest(), metadata=(("authorization", f"Bearer {token}"),)
        )
        failed = await failure(call)
    assert (failed.code, failed.info.reason) == (StatusCode.UNAUTHENTICATED, reason)
    assert token not in repr(logs)
    assert token not in answer.text
    assert token not in front.log_with([answer])


# --- headers that claim -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "headers",
    [
        {"x-service-key": f"{SERVICE_KEY}x"},
        {"x-service-keys": SERVICE_KEY},
        {"service-key": SERVICE_KEY},
        {"x-wallet": Person().wallet, "x-tier": "ADMIN"},
        {"x-jwt-payload": "eyJ0aWVyIjoiYWRtaW4ifQ", "x-envoy-internal": "true"},
        {"x-forwarded-for": "127.0.0.1", "x-envoy-external-address": "127.0.0.1"},
        {"x-envoy-original-path": "/zmart.v1.OpsService/ListAlerts", "x-original-url": "/health"},
    ],
    ids=lambda headers: next(iter(headers)),
)
async def test_no_header_but_a_proven_one_gives_a_tier(client: httpx.AsyncClient, headers: dict[str, str]) -> None:
    assert reason_of(await client.get("/api/ops/alerts", headers=headers)) == (401, "TOKEN_MISSING")


async def test_a_service_key_opens_nothing_of_operators_and_two_of_them_nothing_at_all(
    client: httpx.AsyncClient,
) -> None:
    key = ("x-service-key", SERVICE_KEY)
    assert reason_of(await client.get("/api/ops/alerts", headers=[key])) == (403, "TIER_TOO_LOW")
    assert reason_of(await client.get("/api/ops/alerts", headers=[key, key])) == (401, "TOKEN_MISSING")


async def test_a_client_cannot_choose_the_address_it_is_counted_by(client: httpx.AsyncClient) -> None:
    left = [
        int((await client.get(MARKETS, headers={"x-forwarded-for": f"9.9.9.{number}"})).headers["ratelimit-remaining"])
        for number in range(3)
    ]
    assert left == [left[0], left[0] - 1, left[0] - 2]


async def test_the_refused_of_rest_are_told_when_to_come_back(client: httpx.AsyncClient, behind: Served) -> None:
    ((name, bearer),) = behind.bearer(Person())
    answers = [await client.get(MARKETS, headers={name: bearer}) for _ in range(3)]
    assert [answer.status_code for answer in answers] == [200, 200, 429]
    assert [answer.headers["ratelimit-remaining"] for answer in answers] == ["1", "0", "0"]
    refused = answers[2]
    assert reason_of(refused) == (429, "RATE_LIMITED")
    assert refused.headers["retry-after"] == refused.headers["ratelimit-reset"]
    assert 1 <= int(refused.headers["retry-after"]) <= 60
    retry = next(detail for detail in refused.json()["details"] if detail["@type"].endswith("RetryInfo"))
    assert retry["retry_delay"] == f"{refused.headers['retry-after']}s"


# --- sign-in ----------------------------------------------------------------------------------------------------------


async def test_of_many_answers_to_one_challenge_at_once_one_signs_in(client: httpx.AsyncClient, front: Front) -> None:
    person = Person()
    with capture_logs() as logs:
        asked = await client.post(CHALLENGE, json={"address": person.wallet})
        challenge = asked.json()
        answer = {
            "address": person.wallet,
            "message": challenge["message"],
            "signature": person.sign(challenge["message"]),
        }
        answers = await asyncio.gather(*(client.post(SIGN_IN, json=answer) for _ in range(20)))
    assert Counter(each.status_code for each in answers) == {200: 1, 401: 19}
    assert {reason_of(each) for each in answers if each.status_code == 401} == {(401, "NONCE_UNKNOWN")}
    (pair,) = [each.json() for each in answers if each.status_code == 200]
    written = repr(logs) + front.log_with([asked, *answers])
    assert not [secret for secret in (*pair.values(), answer["signature"], challenge["nonce"]) if secret in written]


# --- bodies -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "headers", "status"),
    [
        (DEEP, JSON, 400),
        (b"[" * 10_000, JSON, 400),
        (b'{"address":"' + b"a" * 65_536 + b'"}', JSON, 413),
        (b'{"address":"' + b"a" * 20_000 + b'"}', JSON, 400),
        (b"\xff\xfe\x00", JSON, 400),
        (b'{"address":"a","address":"b"}', JSON, 400),
        (b"<a/>", {"content-type": "application/xml"}, 400),
        (b"address=a", {"content-type": "application/x-www-form-urlencoded"}, 400),
        (b"\x00\x00\x00\x00\x05short", {"content-type": "application/grpc"}, 200),
    ],
    ids=[
        "deep",
        "deeper",
        "oversized",
        "over the method's size",
        "no text",
        "twice",
        "xml",
        "form",
        "grpc that ends early",
    ],
)
async def test_a_hostile_body_is_refused_and_the_next_call_is_answered(
    client: httpx.AsyncClient, content: bytes, headers: dict[str, str], status: int
) -> None:
    answer = await client.post(CHALLENGE, content=content, headers=headers)
    assert answer.status_code == status, answer.text
    assert "Traceback" not in answer.text
    if status == 200:  # gRPC says it in its own way
        assert answer.headers["grpc-status"] != "0"
    assert (await client.post(CHALLENGE, json={"address": Person().wallet})).status_code == 200


async def test_unknown_fields_of_a_body_change_nothing(client: httpx.AsyncClient, behind: Served) -> None:
    person = Person()
    ((name, bearer),) = behind.bearer(person)
    vote = {"market_id": market_id_of(1), "vote": "like", "wallet": Person().wallet, "weight": 9, "tier": "ADMIN"}
    answer = await client.post("/api/votes/proposal", json=vote, headers={name: bearer})
    assert answer.json()["vote_count"] == {"likes": 1, "dislikes": 0}
    assert [row.wallet for row in behind.town.votes.rows] == [person.wallet]


# --- connections ------------------------------------------------------------------------------------------------------


async def test_floods_of_headers_are_refused_directly_too(behind: Served, client: httpx.AsyncClient) -> None:
    metadata = tuple((f"x-{number}", "a" * 1_000) for number in range(200))
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await MarketServiceStub(behind.channel).ListMarkets(pb.ListMarketsRequest(), metadata=metadata)
    assert caught.value.code() in (StatusCode.RESOURCE_EXHAUSTED, StatusCode.UNAVAILABLE, StatusCode.INTERNAL)
    assert await _answers(client)


@pytest.mark.parametrize("door", ["through Envoy", "directly"])
async def test_thousands_of_streams_that_are_reset_at_once_leave_nothing_behind(
    client: httpx.AsyncClient, behind: Served, front: Front, door: str
) -> None:
    port = front.envoy.listen.port if door == "through Envoy" else front.grpc_port
    storm = b"".join(frames.headers(n, LIST) + frames.reset(n) for n in range(1, 2 * RESETS, 2))
    writer = await frames.sent("127.0.0.1", port, frames.hello() + storm)
    assert await _answers(client)
    await MarketServiceStub(behind.channel).ListMarkets(pb.ListMarketsRequest())
    writer.close()
    await eventually_async(lambda: _is(behind.server.in_flight == 0))


async def test_bodies_that_never_end_hold_nobody_up_and_envoy_ends_them(
    client: httpx.AsyncClient, front: Front, behind: Served, impatient: Front
) -> None:
    head = f"POST {CHALLENGE} HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\ncontent-length: 50\r\n\r\n"
    slow = head.encode() + b"{"
    ports = [envoy.listen.port for envoy in (front.envoy, impatient.envoy) for _ in range(20)]
    dripping = [await asyncio.open_connection("127.0.0.1", port) for port in ports]
    for _, writer in dripping:
        writer.write(slow)
    past = [
        await frames.sent(
            "127.0.0.1", front.grpc_port, frames.hello() + frames.headers(1, LIST) + frames.data(1, b"\x00\x00")
        )
        for _ in range(20)
    ]
    assert await _answers(client)
    await MarketServiceStub(behind.channel).ListMarkets(pb.ListMarketsRequest())
    endings = await asyncio.gather(*(reader.readline() for reader, _ in dripping[20:]))
    assert {ending.split()[1] for ending in endings} == {b"408"}
    for writer in (*past, *(writer for _, writer in dripping)):
        with contextlib.suppress(ConnectionError):
            writer.close()


async def _is(fact: Any) -> bool:
    return bool(fact)
