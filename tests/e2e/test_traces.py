"""One trace of a vote, from Envoy to the statement that counts it; traces of what nobody waits for."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Iterator, Sequence
from typing import Any

import grpc
import httpx
import pytest
from solders.keypair import Keypair

from app.demo.doors import Doors, SignedIn
from app.demo.run import running_system
from app.demo.story import GRID_S
from domain.ids import MarketId
from tests.support.eventually import eventually, eventually_async
from tests.support.otlp import CALLERS_SPAN, TRACEPARENT, Collector
from tests.support.system import FAST, RunningSystem, create_markets, new_market_id
from zmart.v1.vote_service_pb2 import CastProposalVoteRequest
from zmart.v1.vote_service_pb2_grpc import VoteServiceStub

CALLERS = 8
ROUNDS_MAX = 20
"""Of calls at once, until two of them came to their shard in one batch: nearly always the first."""
CALL = "zmart.v1.VoteService/CastProposalVote"
WEBHOOK = "zmart.v1.WebhookService/ReceiveHeliusEvents"


@pytest.fixture(scope="module")
def traced_system(tmp_path_factory: pytest.TempPathFactory, otlp: Collector) -> Iterator[RunningSystem]:
    data_dir = tmp_path_factory.mktemp("traced")
    env = {**FAST, "ZMART_OTLP_ENDPOINT": otlp.url, "OTEL_BSP_SCHEDULE_DELAY": "200"}
    with running_system(data_dir, env) as connection:
        yield RunningSystem(connection, data_dir)


def ancestors(trace: dict[str, Any], name: str) -> list[str]:
    """The spans above one, from its parent up, as far as they came from our processes."""
    by_id = {span.span_id: span for span in trace.values()}
    found, span = [], trace[name]
    while (parent := by_id.get(span.parent_span_id)) is not None:
        found.append(parent.name)
        span = parent
    return found


async def test_one_vote_is_one_trace_from_envoy_through_its_actor_to_the_statement_that_counts_it(
    traced_system: RunningSystem, otlp: Collector
) -> None:
    market_id, voter = new_market_id(), traced_system.token(Keypair())
    async with traced_system.doors() as doors:
        await create_markets(doors, [market_id])
        await eventually_async(lambda: is_taken(doors, traced_system.token(Keypair()), market_id))
    headers = {"authorization": f"Bearer {voter.token}", **TRACEPARENT}
    url = f"{traced_system.connection['envoy_url']}/api/votes/proposal"
    async with httpx.AsyncClient() as client:
        answer = await client.post(url, json={"market_id": market_id, "vote": "like"}, headers=headers, timeout=20)
        assert answer.status_code == 200, answer.text
        for _ in range(5):  # Envoy sends its spans by five
            await client.get(f"{traced_system.connection['envoy_url']}/health", timeout=20)
    eventually(lambda: otlp.trace().keys() >= {CALL, "actor CastVote", "shard batch", "sql take_votes"})
    eventually(lambda: any(span.parent_span_id.hex() == CALLERS_SPAN for span in otlp.trace().values()))
    trace = otlp.trace()
    (envoy,) = [span.name for span in trace.values() if span.parent_span_id.hex() == CALLERS_SPAN]
    above = ancestors(trace, "sql take_votes")
    assert above[:3] == ["shard batch", "actor CastVote", CALL]
    assert above[-1] == envoy
    assert voter.token.encode() not in b"".join(otlp.raw)


async def is_taken(doors: Doors, voter: SignedIn, market_id: MarketId) -> bool:
    """Whether a vote is; on a busy machine shards may need a second start before they take any."""
    try:
        await doors.cast(voter, market_id, "like")
    except grpc.aio.AioRpcError as error:
        assert error.code() is grpc.StatusCode.UNAVAILABLE, error
        return False
    return True


async def test_a_transaction_is_traced_with_its_requests_to_the_chain_and_its_statements(
    traced_system: RunningSystem, otlp: Collector
) -> None:
    market_id = new_market_id()
    async with traced_system.doors() as doors:
        await create_markets(doors, [market_id])
        await doors.cast(traced_system.token(Keypair()), market_id, "dislike")
        await doors.advance_clock(GRID_S)

    def below(step: str) -> set[str]:
        ours = [span for span in otlp.named(step) if market_id in str(span.attributes)]
        return {span.name for span in otlp.spans() if span.parent_span_id in {each.span_id for each in ours}}

    signing = {"chain SimulateVersionedTransaction", "sql mark_signed"}
    eventually(lambda: below("transaction sign") >= signing)
    eventually(lambda: below("transaction send") >= {"chain SendRawTransaction", "sql mark_sent"})
    eventually(lambda: "sql mark_confirmed" in below("transaction confirm"))
    eventually(lambda: otlp.begun_by("deadlines", "sql "))


async def test_every_caller_of_one_batch_finds_its_statements_from_its_own_trace(
    traced_system: RunningSystem, otlp: Collector
) -> None:
    """A shard does the work of many callers once: in the first one's trace, with links to it from the others'."""
    market_id, numbers, callers = new_market_id(), itertools.count(1), list[str]()
    async with traced_system.doors() as doors:
        await create_markets(doors, [market_id])
        await doors.cast(traced_system.token(Keypair()), market_id, "like")  # adopts the market, in batches of its own
    for _ in range(ROUNDS_MAX):
        together = [f"{next(numbers):032x}" for _ in range(CALLERS)]
        callers.extend(together)
        await asyncio.gather(*(vote_within(traced_system, market_id, trace_id) for trace_id in together))
        eventually(lambda: all(statements_of(otlp, trace_id) for trace_id in callers))
        if any(batch.links for trace_id in together for batch in batches_of(otlp, trace_id)):
            break
    own = [trace_id for trace_id in callers if "sql take_votes" in otlp.trace(trace_id)]
    assert 0 < len(own) < len(callers), "some batch was for several"


async def vote_within(system: RunningSystem, market_id: MarketId, trace_id: str) -> None:
    """One vote by a caller who traces."""
    async with grpc.aio.insecure_channel(system.connection["grpc_target"]) as channel:
        bearer = ("authorization", f"Bearer {system.token(Keypair()).token}")
        metadata = (bearer, ("traceparent", f"00-{trace_id}-{CALLERS_SPAN}-01"))
        request = CastProposalVoteRequest(market_id=market_id, vote="like")
        await VoteServiceStub(channel).CastProposalVote(request, metadata=metadata, timeout=60)


def batches_of(otlp: Collector, trace_id: str) -> list[Any]:
    """The batches that a caller's vote was in, each right below its wait for the actor."""
    spans = [span for span in otlp.spans() if span.trace_id.hex() == trace_id]
    waits = {span.span_id for span in spans if span.name == "actor CastVote"}
    return [span for span in spans if span.name == "shard batch" and span.parent_span_id in waits]


def statements_of(otlp: Collector, trace_id: str) -> Sequence[Any]:
    """The statements that counted a caller's vote: below its batch, or below the one that this is linked to."""
    batches = batches_of(otlp, trace_id)
    works = {batch.span_id for batch in batches} | {link.span_id for batch in batches for link in batch.links}
    return [span for span in otlp.named("sql take_votes") if span.parent_span_id in works]


async def test_what_the_indexer_does_by_the_clock_is_traced_from_its_own_beginning(
    traced_system: RunningSystem, otlp: Collector
) -> None:
    eventually(lambda: otlp.begun_by("sweep", "chain GetSignaturesForAddress"))
    eventually(lambda: otlp.begun_by("sweep", "sql move_cursor"))
    eventually(lambda: otlp.begun_by("reconciliation", "sql "))


async def test_what_a_webhook_brought_is_indexed_in_its_trace_and_what_became_of_it_is_seen_published(
    traced_system: RunningSystem, otlp: Collector
) -> None:
    async with traced_system.doors() as doors:
        await create_markets(doors, [new_market_id()])

    def indexed() -> list[Any]:
        pushed = {span.trace_id for span in otlp.named(WEBHOOK)}
        return [span for span in otlp.named("index bodies") if span.trace_id in pushed]

    eventually(lambda: bool(indexed()))
    (bodies, *_) = indexed()
    eventually(lambda: otlp.trace(bodies.trace_id.hex()).keys() >= {"sql put_bodies", "sql finish_bodies"})
    eventually(lambda: otlp.begun_by("publish", "sql mark_published"))
    eventually(lambda: otlp.begun_by("publish", "deliver"))
