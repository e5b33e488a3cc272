"""Bad input gets its own reason and changes nothing."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import asyncpg
import grpc
import pytest
from solders.keypair import Keypair

from app.demo.doors import Doors, SignedIn, reason
from app.demo.run import live
from app.demo.story import Story
from domain.ids import MarketId
from tests.e2e.test_demo import QUIET
from tests.support.eventually import WAIT_S_MAX
from tests.support.system import RunningSystem, create_markets, new_market_id
from zmart.v1 import vote_service_pb2, vote_service_pb2_grpc

MEBIBYTE = 2**20


@dataclass
class Bench:
    """An open market, an approved one, a wallet, and everything that may not change."""

    doors: Doors
    stub: vote_service_pb2_grpc.VoteServiceAsyncStub
    database: asyncpg.Connection
    open_market: MarketId
    approved: MarketId
    wallet: SignedIn

    async def state(self) -> list[Any]:
        votes = await self.database.fetchval(
            "SELECT count(*) FROM vote_records WHERE market_id = ANY($1)", [self.open_market, self.approved]
        )
        markets = await self.database.fetch(
            # Not the version: the indexer may still bring what the chain showed of the approved market.
            "SELECT market_id, state, likes, dislikes, votes_seq, proposal_log_size FROM markets "
            "WHERE market_id = ANY($1) ORDER BY market_id",
            [self.open_market, self.approved],
        )
        return [votes, *map(tuple, markets)]

    async def refused(self, token: str | None, **fields: Any) -> tuple[grpc.StatusCode, str]:
        request = vote_service_pb2.CastProposalVoteRequest(**{"market_id": self.open_market, "vote": "like", **fields})
        metadata = (("authorization", f"Bearer {token}"),) if token is not None else ()
        with pytest.raises(grpc.aio.AioRpcError) as refusal:
            await self.stub.CastProposalVote(request, metadata=metadata, timeout=WAIT_S_MAX)
        return refusal.value.code(), reason(refusal.value)


@pytest.fixture
async def bench(system: RunningSystem) -> AsyncIterator[Bench]:
    database = await asyncpg.connect(system.connection["database_url"])
    async with system.doors() as doors, grpc.aio.insecure_channel(system.connection["grpc_target"]) as channel:
        story = Story(doors)
        await live(system.connection, QUIET, story)
        open_market = new_market_id()
        await create_markets(doors, [open_market])
        await doors.cast(system.token(Keypair()), open_market, "dislike")
        stub = vote_service_pb2_grpc.VoteServiceStub(channel)
        yield Bench(doors, stub, database, open_market, story.market_id, system.token(Keypair()))
    await database.close()


async def test_each_kind_of_bad_input_has_its_own_reason_and_changes_nothing(bench: Bench) -> None:
    before = await bench.state()
    token, code = bench.wallet.token, grpc.StatusCode
    assert await bench.refused(token, market_id=new_market_id()) == (code.NOT_FOUND, "MARKET_NOT_FOUND")
    assert await bench.refused(token, market_id="not-an-id") == (code.INVALID_ARGUMENT, "MARKET_ID_MALFORMED")
    assert await bench.refused(token, market_id="") == (code.INVALID_ARGUMENT, "MARKET_ID_MALFORMED")
    assert await bench.refused(token, market_id=bench.approved) == (code.FAILED_PRECONDITION, "WRONG_STATE")
    assert await bench.refused(token, vote="maybe") == (code.INVALID_ARGUMENT, "VOTE_WORD_UNKNOWN")
    assert await bench.refused(token, vote="support") == (code.INVALID_ARGUMENT, "VOTE_WORD_UNKNOWN")
    assert await bench.refused(token, request_id="seven") == (code.INVALID_ARGUMENT, "REQUEST_ID_MALFORMED")
    assert await bench.refused(token, vote="l" * MEBIBYTE) == (code.INVALID_ARGUMENT, "MESSAGE_TOO_LARGE")
    assert await bench.refused("a.b.c") == (code.UNAUTHENTICATED, "TOKEN_MALFORMED")
    assert await bench.refused(token[:-8] + "AAAAAAAA") == (code.UNAUTHENTICATED, "TOKEN_SIGNATURE_INVALID")
    assert await bench.refused(None) == (code.UNAUTHENTICATED, "TOKEN_MISSING")
    assert await bench.state() == before


async def test_beyond_the_hard_limit_the_server_refuses_and_lives(bench: Bench) -> None:
    """grpcio answers by itself above its own limit and gives no details (decisions A6)."""
    before = await bench.state()
    answer, _ = await bench.refused(bench.wallet.token, vote="l" * (6 * MEBIBYTE))
    assert answer is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert await bench.state() == before


async def test_the_open_market_still_takes_the_vote_afterwards(bench: Bench) -> None:
    answer = await bench.doors.cast(bench.wallet, bench.open_market, "like")
    assert (answer.vote_count.likes, answer.vote_count.dislikes) == (1, 1)
