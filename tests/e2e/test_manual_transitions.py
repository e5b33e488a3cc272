"""Transitions that an operator asks for: sent once, and the state moves only by the chain's answer."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import asyncpg
import grpc
import pytest
from solders.keypair import Keypair

from app.demo.doors import Doors, reason
from app.demo.story import GRID_S
from chain.client import ChainReader
from domain.ids import MarketId
from domain.lifecycle import Lifecycle
from tests.support.disputes import Dispute
from tests.support.eventually import eventually_async
from tests.support.system import RunningSystem
from tests.support.three_doors import Rpc, ThreeDoors
from zmart.v1 import market_service_pb2 as pb
from zmart.v1.market_service_pb2_grpc import MarketServiceStub

SENT = "SELECT id::text, action FROM chain_transactions WHERE market_id = $1 ORDER BY planned_at"

TAKEN_IN = "SELECT true FROM chain_transactions WHERE market_id = $1 AND applied_at IS NOT NULL"


class Operator:
    """Somebody with the operator's token."""

    def __init__(self, system: RunningSystem, channel: grpc.aio.Channel) -> None:
        self._markets = MarketServiceStub(channel)
        self._channel, self._envoy_url = channel, system.connection["envoy_url"]
        self._metadata = (("authorization", f"Bearer {system.connection['operator_token']}"),)

    async def ask(self, market_id: MarketId, transition: str, **fields: str) -> Any:
        """The answer to one of the four calls."""
        request = getattr(pb, f"{transition}MarketRequest")(market_id=market_id, **fields)
        return await getattr(self._markets, f"{transition}Market")(request, metadata=self._metadata, timeout=20)

    async def ask_by_rest(self, market_id: MarketId, transition: str, **fields: str) -> Any:
        """The answer to one of the four calls through the front door, as its JSON."""
        async with aiohttp.ClientSession() as http:
            doors = ThreeDoors(self._channel, http, self._envoy_url)
            rpc = Rpc(f"/zmart.v1.MarketService/{transition}Market")
            answer = await doors.by_rest(rpc, {"market_id": market_id, **fields}, dict(self._metadata))
        assert answer.code == 0, answer
        return answer.body

    async def refused(self, market_id: MarketId, transition: str) -> tuple[str, str]:
        """Reason and sentence of the refusal."""
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await self.ask(market_id, transition)
        return reason(caught.value), caught.value.details() or ""


@asynccontextmanager
async def scene(system: RunningSystem) -> AsyncIterator[tuple[Operator, Dispute, Doors, ChainReader]]:
    """A proposal, and an operator."""
    reader = ChainReader.connect(system.connection["rpc_url"], system.connection["program_id"])
    async with system.doors() as doors, reader, grpc.aio.insecure_channel(system.connection["grpc_target"]) as channel:
        dispute = Dispute(system, doors, reader)
        await doors.create_market(dispute.creator, dispute.market_id, b"q" * 46)
        yield Operator(system, channel), dispute, doors, reader


async def until(doors: Doors, market_id: MarketId, state: Lifecycle) -> None:
    async def is_there() -> bool:
        return (await doors.market(market_id)).state == state.name

    await eventually_async(is_there, timeout_s=60)


async def aggregated(system: RunningSystem, market_id: MarketId) -> None:
    """Three of four likes are on chain: enough for the program, too few for an approval by itself (P1)."""
    database = await asyncpg.connect(system.connection["database_url"])
    await eventually_async(lambda: database.fetchval(TAKEN_IN, market_id), timeout_s=60)
    await database.close()


async def test_an_operator_takes_a_market_through_its_life(system: RunningSystem) -> None:
    async with scene(system) as (operator, dispute, doors, reader):
        market_id, asked = dispute.market_id, str(uuid.uuid4())
        why, sentence = await operator.refused(market_id, "Activate")
        assert why == "ILLEGAL_TRANSITION"
        assert "is PROPOSED" in sentence and "to ACTIVE" in sentence
        for word in ("dislike", "like", "like", "like"):
            await doors.cast(system.token(Keypair()), market_id, word)
        assert "aggregate them first" in (await operator.refused(market_id, "Approve"))[1]
        await doors.advance_clock(GRID_S)
        await aggregated(system, market_id)
        first = await operator.ask_by_rest(market_id, "Approve", request_id=asked)
        assert (first["market_id"], first["error_name"]) == (market_id, "")
        await until(doors, market_id, Lifecycle.APPROVED)
        again = await operator.ask(market_id, "Approve", request_id=asked)
        assert (again.transaction_id, again.transaction_signature) == (
            first["transaction_id"],
            first["transaction_signature"],
        )
        await operator.ask_by_rest(market_id, "Activate")
        await until(doors, market_id, Lifecycle.ACTIVE)
        await dispute.resolve()
        await until(doors, market_id, Lifecycle.RESOLVING)
        assert (await operator.refused(market_id, "Finalize"))[0] == "TRANSITION_NOT_DUE"
        account = await reader.market(market_id)
        assert account is not None and account.state is Lifecycle.RESOLVING
    database = await asyncpg.connect(system.connection["database_url"])
    sent = await database.fetch(SENT, market_id)
    await database.close()
    assert [row["action"] for row in sent] == ["aggregate_proposal_votes", "approve_proposal", "activate_market"]
    assert sent[1]["id"] == first["transaction_id"]


async def test_a_cancelled_market_is_cancelled_on_chain(system: RunningSystem) -> None:
    async with scene(system) as (operator, dispute, doors, reader):
        await operator.ask(dispute.market_id, "Cancel")
        await until(doors, dispute.market_id, Lifecycle.CANCELLED)
        account = await reader.market(dispute.market_id)
        assert account is not None and account.state is Lifecycle.CANCELLED
