"""From the chain to the tables and out again, through the public doors of a whole system."""

from __future__ import annotations

from typing import Any

import aiohttp
import grpc
from solders.keypair import Keypair

from domain.ids import Wallet
from tests.support.eventually import eventually_async
from tests.support.system import RunningSystem, create_markets, new_market_id
from zmart.v1 import ops_service_pb2 as pb
from zmart.v1.ops_service_pb2_grpc import OpsServiceStub


async def test_what_happens_on_chain_can_be_listed_found_and_compared(system: RunningSystem) -> None:
    market, creator = new_market_id(), Keypair()
    async with system.doors() as doors:
        signature = await doors.create_market(creator, market, b"q" * 46)
    api = f"{system.connection['envoy_url']}/api/events"
    async with aiohttp.ClientSession() as http:

        async def answer(path: str) -> dict[str, Any]:
            async with http.get(api + path) as response:
                assert response.status == 200, await response.text()
                read: dict[str, Any] = await response.json()
                return read

        async def is_listed() -> bool:
            return bool((await answer(f"/{market}"))["total_count"])

        await eventually_async(is_listed, timeout_s=60)
        (event,) = (await answer(f"/{market}"))["events"]
        assert (event["transaction_signature"], event["event_type"]) == (signature, "MarketCreated")
        assert event["event_data"]["creator"] == Wallet(str(creator.pubkey()))
        assert (await answer(f"/search?q={signature[:12]}"))["events"] == [event]
        assert event in (await answer("/by-type/MarketCreated"))["events"]
        assert event in (await answer(f"/by-date?from={event['timestamp'][:10]}"))["events"]


async def test_an_operator_compares_the_database_with_the_chain_and_nothing_differs(system: RunningSystem) -> None:
    async with system.doors() as doors:
        await create_markets(doors, [market := new_market_id()])
        await doors.market(market)
    admin = (("authorization", f"Bearer {system.connection['operator_token']}"),)
    async with grpc.aio.insecure_channel(system.connection["grpc_target"]) as channel:
        stub = OpsServiceStub(channel)
        answer = await stub.RunReconciliation(pb.RunReconciliationRequest(market_id=market), metadata=admin)
        assert (answer.checked, answer.discrepancies, answer.repaired) == (1, 0, 0)
        listed = await stub.ListDiscrepancies(pb.ListDiscrepanciesRequest(market_id=market), metadata=admin)
        assert list(listed.discrepancies) == []
