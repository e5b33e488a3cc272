"""Traces, from a real Envoy over the gRPC server to SQL and the chain, as a collector on this machine gets them."""

from __future__ import annotations

import subprocess
import sys
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

import httpx
import pytest
from grpc.aio import AioRpcError
from solders.rpc.requests import GetSlot
from solders.rpc.responses import GetSlotResp

from app.embedded import EmbeddedEnvoy, Endpoint, free_port
from app.runner import Runner
from app.traced_calls import TracedCalls
from app.tracing import Tracing
from chain.rpc import ChainUnavailable, Rpc, RpcSettings
from domain.ids import MarketId
from domain.observed import ObservedMarket
from grpc_server import BookUnavailable, MarketAccounts, Parts
from storage.database import Database, database_pool
from tests.support.eventually import eventually
from tests.support.grpc_parts import Person, Served, market_id_of, observed, served
from tests.support.otlp import CALLERS_SPAN, TRACEPARENT, Collector
from zmart.v1.market_service_pb2 import GetMarketRequest
from zmart.v1.market_service_pb2_grpc import MarketServiceStub


@pytest.fixture
def collector(otlp: Collector) -> Collector:
    otlp.raw.clear()
    return otlp


@dataclass(frozen=True)
class Front:
    """An Envoy that traces, and the port behind it."""

    url: str
    grpc_port: int


@pytest.fixture(scope="module")
def front(tmp_path_factory: pytest.TempPathFactory, otlp: Collector) -> Iterator[Front]:
    folder, port = tmp_path_factory.mktemp("envoy"), free_port()
    behind = Endpoint("127.0.0.1", port), Endpoint("127.0.0.1", free_port())
    envoy = EmbeddedEnvoy(folder / "data", *behind, collector=otlp.url)
    runner = Runner(f"test-{uuid.uuid4()}", folder / "logs")
    runner.start(envoy.role())
    yield Front(envoy.url, port)
    runner.stop()


class ReadsBoth:
    """Accounts behind a statement of SQL and a request to a node that is not there."""

    def __init__(self, inner: MarketAccounts, database: Database, tracing: Tracing) -> None:
        self._inner, self._database = inner, database
        self._rpc = tracing.asking(Rpc(RpcSettings(f"http://127.0.0.1:{free_port()}/?api-key=secret-of-the-node")))

    async def market(self, market_id: MarketId) -> ObservedMarket | None:
        await self._database.fetch("tallies_by_market", "", 1)
        with suppress(ChainUnavailable):
            await self._rpc.ask_once(GetSlot(), GetSlotResp)
        return await self._inner.market(market_id)

    async def close(self) -> None:
        await self._rpc.close()


@asynccontextmanager
async def traced(collector: Collector, database_url: str, port: int = 0) -> AsyncIterator[Served]:
    """A server that traces; what it has to send is sent when this ends."""
    tracing = Tracing(collector.url, "zmart-grpc")
    database = await database_pool(database_url, 2, span=tracing.sql)
    made: list[ReadsBoth] = []

    def around(parts: Parts) -> Parts:
        made.append(ReadsBoth(parts.accounts, database, tracing))
        return replace(parts, tracing=TracedCalls(tracing), router=tracing.commands(parts.router), accounts=made[0])

    try:
        async with served(port=port, around=around) as running:
            yield running
    finally:
        await made[0].close()
        await database.close()
        await tracing.close()


async def enough_for_envoy(client: httpx.AsyncClient, front: Front) -> None:
    """Envoy sends its spans by five, or after five seconds."""
    for _ in range(5):
        await client.get(front.url)


async def test_one_vote_is_one_connected_trace(collector: Collector, front: Front, database_url: str) -> None:
    person = Person()
    async with traced(collector, database_url, front.grpc_port) as running, httpx.AsyncClient() as client:
        running.accounts.put(observed(1, person.wallet))
        headers = {**dict(running.bearer(person)), **TRACEPARENT}
        path = f"{front.url}/api/votes/proposal"
        answer = await client.post(path, json={"market_id": market_id_of(1), "vote": "like"}, headers=headers)
        assert answer.status_code == 200, answer.text
        await enough_for_envoy(client, front)
    call = "zmart.v1.VoteService/CastProposalVote"
    eventually(lambda: CALLERS_SPAN in {span.parent_span_id.hex() for span in collector.trace().values()})
    trace = collector.trace()
    (envoy,) = [span for span in trace.values() if span.parent_span_id.hex() == CALLERS_SPAN]
    below = {name for name, span in trace.items() if span.parent_span_id == trace[call].span_id}
    assert trace[call].parent_span_id in {
        envoy.span_id,
        *(s.span_id for s in trace.values() if s.parent_span_id == envoy.span_id),
    }
    assert below == {"actor CastVote", "actor AdoptMarket", "sql tallies_by_market", "chain GetSlot"}
    body = b"".join(collector.raw)
    assert running.bearer(person)[0][1].encode() not in body and b"secret-of-the-node" not in body


async def test_a_call_outside_of_any_trace_begins_its_own_and_names_its_outcome(
    own_otlp: Collector, database_url: str
) -> None:
    async with traced(own_otlp, database_url) as running:
        running.town.outage = BookUnavailable("the book is away")
        with suppress(AioRpcError):
            await MarketServiceStub(running.channel).GetMarket(GetMarketRequest(market_id=market_id_of(1)))
    (span,) = own_otlp.spans()
    told = {attribute.key: attribute.value.string_value for attribute in span.attributes}
    assert (span.name, span.parent_span_id) == ("zmart.v1.MarketService/GetMarket", b"")
    assert told["rpc.response.status_code"] == "UNAVAILABLE"
    assert b"the book is away" not in b"".join(own_otlp.raw)


async def test_work_that_no_call_asked_for_is_not_traced(own_otlp: Collector, database_url: str) -> None:
    tracing = Tracing(own_otlp.url, "zmart-grpc")
    database = await database_pool(database_url, 2, span=tracing.sql)
    await database.fetch("tallies_by_market", "", 1)
    await database.close()
    await tracing.close()
    assert own_otlp.spans() == []


async def test_no_token_in_an_address_reaches_the_collector(collector: Collector, front: Front) -> None:
    async with httpx.AsyncClient() as client:
        await client.get(f"{front.url}/ws?token=in-the-query", headers=TRACEPARENT)
        await enough_for_envoy(client, front)
    eventually(lambda: bool(collector.trace()))
    body = b"".join(collector.raw)
    assert b"/ws" in body
    assert b"in-the-query" not in body


async def test_a_collector_that_is_away_keeps_no_call_waiting(database_url: str) -> None:
    async with traced(Collector(free_port()), database_url) as running:
        running.accounts.put(observed(1, Person().wallet))
        found = await MarketServiceStub(running.channel).GetMarket(GetMarketRequest(market_id=market_id_of(1)))
        assert found.market_id == market_id_of(1)


def test_nothing_of_opentelemetry_is_loaded_while_nothing_is_traced() -> None:
    code = (
        "import sys; from app.config import Settings; from app import roles;"
        "roles._serve = lambda role, settings: __import__('app.wiring_grpc').wiring.tracing_of(settings, role);"
        "roles.serve_role('envoy', Settings());"
        "print([name for name, module in sys.modules.items() if module and name.startswith('opentelemetry')])"
    )
    root = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_shard_that_traces_loads_nothing_of_grpc_or_the_chain() -> None:
    """Its start is what markets wait for after a loss."""
    code = (
        "import sys; from app.config import Settings; from app import wiring; import actors.shard;"
        "assert wiring.tracing_of(Settings(otlp_endpoint='http://127.0.0.1:1'), 'zmart-shard');"
        "print([name for name in sys.modules if name in ('grpc', 'grpc_server', 'zmart', 'chain')])"
    )
    root = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
