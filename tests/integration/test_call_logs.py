"""What is logged while calls are answered: which call, market and trace a line is about, and never a secret."""

from __future__ import annotations

import asyncio
import io
import json
import logging
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from typing import Any

import pytest
import structlog
from google.api.httpbody_pb2 import HttpBody
from grpc.aio import AioRpcError

from app.logs import configure_logs
from grpc_server import BookUnavailable, InboxUnavailable, ShardUnavailable, Webhooks
from identity import SessionStoreUnavailable, Tier, WebhookMode, WebhookSecrets
from tests.support.bridge import running_bridge
from tests.support.eventually import eventually_async
from tests.support.feed import Book
from tests.support.grpc_parts import SERVICE_KEY, Person, Served, market_id_of, observed, served
from tests.support.valkey import ValkeyServer
from zmart.v1 import auth_service_pb2 as auth
from zmart.v1.auth_service_pb2_grpc import AuthServiceStub
from zmart.v1.market_service_pb2 import GetMarketRequest
from zmart.v1.market_service_pb2_grpc import MarketServiceStub
from zmart.v1.ops_service_pb2 import ListAlertsRequest
from zmart.v1.ops_service_pb2_grpc import OpsServiceStub
from zmart.v1.vote_service_pb2 import CastProposalVoteRequest
from zmart.v1.vote_service_pb2_grpc import VoteServiceStub
from zmart.v1.webhook_service_pb2 import ReceiveHeliusEventsRequest
from zmart.v1.webhook_service_pb2_grpc import WebhookServiceStub

WEBHOOK_SECRET = "the secret that Helius echoes"
TRACE_ID = "4bf92f3577b34da6a3ce929d0e0e4736"
TRACEPARENT = f"00-{TRACE_ID}-00f067aa0ba902b7-01"


class Log:
    """Everything that this process has logged, as an operator finds it."""

    def __init__(self) -> None:
        self.stream = io.StringIO()

    @property
    def text(self) -> str:
        return self.stream.getvalue()

    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.text.splitlines()]


@pytest.fixture
def log(monkeypatch: pytest.MonkeyPatch) -> Iterator[Log]:
    """Our own logs, set up as every role does, at the level that says most."""
    known, root, log = structlog.get_config(), logging.getLogger(), Log()
    handlers, level = root.handlers[:], root.level
    monkeypatch.setattr(sys, "stderr", log.stream)
    configure_logs("debug", role="grpc")
    yield log
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.configure(**known)
    structlog.contextvars.clear_contextvars()


class LostInbox:
    """An inbox that is never there."""

    async def put(self, body: bytes) -> int:
        raise InboxUnavailable("the inbox is away")

    async def keep_sample(self, body: bytes, why: str) -> None:
        raise InboxUnavailable("the inbox is away")


@pytest.fixture
async def running(log: Log) -> AsyncIterator[Served]:
    secrets = WebhookSecrets((WEBHOOK_SECRET,), WebhookMode.EITHER)
    async with served(webhooks=Webhooks(LostInbox(), secrets, lambda _: None)) as running:
        yield running


def market_call(number: int) -> GetMarketRequest:
    return GetMarketRequest(market_id=market_id_of(number))


async def outage_line(running: Served, log: Log, *metadata: tuple[str, str]) -> dict[str, Any]:
    """The line that is logged when a market cannot be read."""
    running.town.outage = BookUnavailable("the book is away")
    with suppress(AioRpcError):
        await MarketServiceStub(running.channel).GetMarket(market_call(1), metadata=metadata)
    (line,) = [line for line in log.lines() if line["event"] == "outage"]
    return line


async def test_a_line_names_the_call_its_market_and_its_trace(running: Served, log: Log) -> None:
    line = await outage_line(running, log, ("x-request-id", "r-1"), ("traceparent", TRACEPARENT))
    names = {name: line[name] for name in ("request_id", "market_id", "trace_id", "role")}
    assert names == {"request_id": "r-1", "market_id": market_id_of(1), "trace_id": TRACE_ID, "role": "grpc"}


async def test_the_names_of_one_call_are_not_on_the_lines_of_the_next(running: Served, log: Log) -> None:
    await outage_line(running, log, ("x-request-id", "r-1"), ("traceparent", TRACEPARENT))
    running.revoked.outage = SessionStoreUnavailable("the sessions are away")
    metadata = (*running.bearer(None, Tier.ADMIN), ("x-request-id", "r-2"))
    with suppress(AioRpcError):
        await OpsServiceStub(running.channel).ListAlerts(ListAlertsRequest(), metadata=metadata)
    (line,) = [line for line in log.lines() if line["request_id"] == "r-2"]
    assert not {"market_id", "trace_id"} & line.keys()


@pytest.mark.parametrize(
    "traceparent",
    [
        f"00-{'0' * 32}-00f067aa0ba902b7-01",
        f"00-{TRACE_ID}-{'0' * 16}-01",
        f"ff-{TRACE_ID}-00f067aa0ba902b7-01",
        f"00-{TRACE_ID.upper()}-00f067aa0ba902b7-01",
        f"{TRACEPARENT}-more",
        "nonsense",
        "0" * 5_000,
    ],
)
async def test_what_is_no_traceparent_names_no_trace(running: Served, log: Log, traceparent: str) -> None:
    assert "trace_id" not in await outage_line(running, log, ("traceparent", traceparent))


async def test_a_later_version_of_traceparent_is_read_as_far_as_it_is_known(running: Served, log: Log) -> None:
    line = await outage_line(running, log, ("traceparent", f"01{TRACEPARENT[2:]}-more"))
    assert line["trace_id"] == TRACE_ID


async def test_a_text_that_can_be_no_market_is_not_logged_as_one(running: Served, log: Log) -> None:
    token = dict(running.bearer(Person()))["authorization"].removeprefix("Bearer ")
    running.revoked.outage = running.town.outage = BookUnavailable("the book is away")
    with suppress(AioRpcError):
        await MarketServiceStub(running.channel).GetMarket(GetMarketRequest(market_id=token))
    assert token not in log.text


# --- secrets ----------------------------------------------------------------------------------------------------------


async def test_signing_in_and_refreshing_log_no_message_signature_or_token(running: Served, log: Log) -> None:
    person, stub = Person(), AuthServiceStub(running.channel)
    challenge = await stub.CreateChallenge(auth.CreateChallengeRequest(address=person.wallet))
    signature = person.sign(challenge.message)
    answer = auth.SignInRequest(address=person.wallet, message=challenge.message, signature=signature)
    session = await stub.SignIn(answer)
    with suppress(AioRpcError):
        await stub.SignIn(answer)  # a second time, refused
    refreshed = await stub.RefreshToken(auth.RefreshTokenRequest(refresh_token=session.refresh_token))
    with suppress(AioRpcError):
        await stub.RefreshToken(auth.RefreshTokenRequest(refresh_token=session.refresh_token))
    await outage_line(running, log, ("authorization", f"Bearer {refreshed.access_token}"))
    secrets = (signature, challenge.message, challenge.nonce, session.access_token, session.refresh_token)
    assert not [secret for secret in (*secrets, refreshed.access_token, refreshed.refresh_token) if secret in log.text]


@pytest.mark.parametrize("fault", [ShardUnavailable("the shard is away"), RuntimeError("a bug")], ids=["outage", "bug"])
async def test_a_vote_that_fails_logs_neither_its_token_nor_a_service_key(
    running: Served, log: Log, fault: Exception
) -> None:
    person = Person()
    running.accounts.put(observed(1, person.wallet))
    running.town.outage = fault
    bearer = running.bearer(person)
    vote = CastProposalVoteRequest(market_id=market_id_of(1), vote="like")
    for metadata in (bearer, (*bearer, ("x-service-key", SERVICE_KEY)), (("authorization", f"Basic {SERVICE_KEY}"),)):
        with suppress(AioRpcError):
            await VoteServiceStub(running.channel).CastProposalVote(vote, metadata=metadata)
    assert {line["market_id"] for line in log.lines() if line["level"] in ("warning", "error")} == {market_id_of(1)}
    token = bearer[0][1].removeprefix("Bearer ")
    assert not [secret for secret in (token, SERVICE_KEY) if secret in log.text]


async def test_a_webhook_that_fails_logs_neither_its_secret_nor_its_body(running: Served, log: Log) -> None:
    body = HttpBody(content_type="application/json", data=b'[{"signature": "of somebody"}]')
    request = ReceiveHeliusEventsRequest(body=body)
    for secret in (WEBHOOK_SECRET, f"{WEBHOOK_SECRET} nearly"):
        with suppress(AioRpcError):
            await WebhookServiceStub(running.channel).ReceiveHeliusEvents(
                request, metadata=(("authorization", secret),)
            )
    assert [line["event"] for line in log.lines()] == ["outage"]
    assert not [secret for secret in (WEBHOOK_SECRET, "of somebody") if secret in log.text]


async def test_a_socket_logs_no_token_from_its_address_or_header(valkey: ValkeyServer, log: Log) -> None:
    async def said() -> bool:
        return bool(log.text)

    async with running_bridge(valkey, Book()) as bridge:
        async with bridge.browser("/ws?token=in-the-query", bearer="in-a-header"):
            pass
        reader, writer = await asyncio.open_connection("127.0.0.1", bridge.bridge.port)
        writer.write(b"GET /ws?token=in-the-query HTTP/1.0\r\nAuthorization: Bearer in-a-header\r\n\r\n")
        await reader.read()
        writer.close()
        await eventually_async(said)
    assert [line["event"] for line in log.lines()] == ["opening handshake failed: InvalidMessage"]
    assert "in-the-query" not in log.text and "in-a-header" not in log.text
