"""The end of a dispute through the whole system: ledger, table and API say the same, and it is sent once."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import asyncpg
import grpc

from app.demo.doors import Doors
from chain.client import ChainReader
from domain.disputes import MARGIN_S
from domain.observed import ObservedMarket
from domain.rescale import U32_MAX, fit_u32
from tests.support.disputes import Booth, Dispute
from tests.support.eventually import eventually_async
from tests.support.system import RunningSystem
from zmart.v1 import market_service_pb2, ops_service_pb2
from zmart.v1.ops_service_pb2_grpc import OpsServiceStub

AGGREGATION = """
SELECT status, vote_type, yes_votes::text, no_votes::text, submitted_yes, submitted_no, threshold_bps, threshold_met,
    synthetic, votes_size, transaction_signature
FROM aggregation_results WHERE market_id = $1 ORDER BY id
"""
CLAIMS = """
SELECT o.payload::jsonb->>'outcome' AS outcome, m.claims_enabled, o.seq - s.seq AS after
FROM feed_outbox AS o JOIN markets AS m ON m.market_id = $1
JOIN feed_outbox AS s ON s.channel = o.channel AND s.payload::jsonb->>'new_state' = 'FINALIZED'
WHERE o.channel = $2 AND o.type = 'CLAIMS_ENABLED'
"""
ENDINGS = "SELECT status, signature FROM chain_transactions WHERE market_id = $1 AND action = 'finalize_market'"


@dataclass
class Scene:
    """A dispute and every side from which its end is seen."""

    system: RunningSystem
    doors: Doors
    channel: grpc.aio.Channel
    reader: ChainReader
    database: asyncpg.Connection
    dispute: Dispute

    @property
    def booth(self) -> Booth:
        return Booth(self.system, self.channel, self.dispute.market_id)

    async def market(self) -> market_service_pb2.GetMarketResponse:
        return await self.doors.market(self.dispute.market_id)

    async def known_as_disputed(self) -> market_service_pb2.GetMarketResponse:
        """The market as the API shows it, once that has heard of the dispute."""

        async def heard() -> market_service_pb2.GetMarketResponse | None:
            await self.booth.refused(self.dispute.creator, "reject")  # a vote makes the system look at the chain
            market = await self.market()
            return market if market.state == "DISPUTED" else None

        market = await eventually_async(heard, timeout_s=60)
        assert market is not None
        return market

    async def aggregate_now(self) -> ops_service_pb2.AggregateNowResponse:
        metadata = (("authorization", f"Bearer {self.system.connection['operator_token']}"),)
        request = ops_service_pb2.AggregateNowRequest(market_id=self.dispute.market_id)
        return await OpsServiceStub(self.channel).AggregateNow(request, metadata=metadata, timeout=20)

    async def ended(self) -> ObservedMarket:
        """The account, once API and database know of the end."""
        market_id = self.dispute.market_id
        dispute_period_s = await self.database.fetchval("SELECT dispute_period_s FROM chain_config")
        await self.doors.advance_clock(dispute_period_s + MARGIN_S + 1)

        async def final() -> bool:
            rows = await self.database.fetch(AGGREGATION, market_id)
            return (await self.market()).state == "FINALIZED" and rows[-1]["status"] == "confirmed"

        await eventually_async(final, timeout_s=60)
        account = await self.reader.market(market_id)
        assert account is not None
        return account

    async def claims_are_told(self, outcome: str) -> None:
        """API, table and feed say that claims are enabled, the feed once and under the next number."""
        market = await self.market()
        assert (market.claims_enabled, market.claims_available_at) == (True, market.finalized_at)
        assert market.claims_payable > 0
        assert market.claims_due > 0
        told = await self.database.fetch(CLAIMS, self.dispute.market_id, f"market_{self.dispute.market_id}")
        assert [(row["outcome"], row["claims_enabled"], row["after"]) for row in told] == [(outcome, True, 1)]

    async def transactions(self) -> list[asyncpg.Record]:
        return list(await self.database.fetch(ENDINGS, self.dispute.market_id))

    async def alerts(self) -> list[str]:
        rows = await self.database.fetch("SELECT alert_type FROM alerts WHERE market_id = $1", self.dispute.market_id)
        return [row["alert_type"] for row in rows]


@asynccontextmanager
async def disputed(system: RunningSystem) -> AsyncIterator[Scene]:
    """A dispute on the resolution YES, a moment after it began."""
    database = await asyncpg.connect(system.connection["database_url"])
    reader = ChainReader.connect(system.connection["rpc_url"], system.connection["program_id"])
    async with system.doors() as doors, reader, grpc.aio.insecure_channel(system.connection["grpc_target"]) as channel:
        scene = Scene(system, doors, channel, reader, database, Dispute(system, doors, reader))
        await scene.dispute.begin()
        await scene.dispute.trade()
        await scene.dispute.dispute()
        yield scene
    await database.close()


async def test_weighted_votes_end_a_dispute_once_and_everywhere_alike(system: RunningSystem) -> None:
    async with disputed(system) as scene:
        market = await scene.known_as_disputed()
        opened_s = market.dispute_initiated_at.seconds
        assert market.next_deadline.seconds == opened_s + 259_200 + MARGIN_S
        large, small = scene.dispute.traders["large"], scene.dispute.traders["small"]
        await scene.booth.cast(small, "reject")
        await scene.booth.cast(large, "support")
        early = await scene.aggregate_now()
        assert (early.status, await scene.transactions()) == ("skipped", [])

        account = await scene.ended()
        support, reject = await scene.dispute.shares("large"), await scene.dispute.shares("small")
        pair = fit_u32(support, reject, 6000)
        *_, row = await scene.database.fetch(AGGREGATION, scene.dispute.market_id)
        assert (row["vote_type"], row["yes_votes"], row["no_votes"]) == ("dispute", str(support), str(reject))
        assert (row["submitted_yes"], row["submitted_no"]) == (account.dispute_agree, account.dispute_disagree) == pair
        assert (row["threshold_bps"], row["threshold_met"], row["synthetic"], row["votes_size"]) == (
            6000,
            True,
            False,
            2,
        )
        assert sum(pair) == min(support + reject, U32_MAX)
        assert (account.final_outcome, (await scene.market()).final_outcome) == (False, "NO"), "support flips it"
        (sent,) = await scene.transactions()
        assert sent["signature"] == row["transaction_signature"]
        assert await scene.booth.refused(large, "reject") == "WRONG_STATE"
        await scene.claims_are_told("NO")
        assert await scene.alerts() == []


async def test_a_dispute_without_votes_upholds_the_resolution(system: RunningSystem) -> None:
    async with disputed(system) as scene:
        await scene.known_as_disputed()
        account = await scene.ended()
        assert (account.final_outcome, (await scene.market()).final_outcome) == (True, "YES")
        assert (account.dispute_agree, account.dispute_disagree) == (0, 1)
        *_, row = await scene.database.fetch(AGGREGATION, scene.dispute.market_id)
        assert (row["synthetic"], row["yes_votes"], row["no_votes"]) == (True, "0", "0")
        assert (row["submitted_yes"], row["submitted_no"], row["threshold_met"]) == (0, 1, False)
        told = await scene.database.fetch(
            "SELECT payload FROM feed_outbox WHERE channel = $1 AND votes_seq > 0", f"market_{scene.dispute.market_id}"
        )
        assert any('"synthetic": true' in message["payload"] for message in told)
        assert len(await scene.transactions()) == 1
        assert await scene.alerts() == []


async def test_an_undisputed_resolution_is_final_after_its_window(system: RunningSystem) -> None:
    database = await asyncpg.connect(system.connection["database_url"])
    reader = ChainReader.connect(system.connection["rpc_url"], system.connection["program_id"])
    async with system.doors() as doors, reader:
        dispute = Dispute(system, doors, reader)
        await dispute.begin()
        await dispute.resolve()

        async def resolving() -> bool:
            return (await doors.market(dispute.market_id)).state == "RESOLVING"

        await eventually_async(resolving, timeout_s=60)
        await doors.advance_clock(259_200 + MARGIN_S + 1)

        async def final() -> bool:
            return (await doors.market(dispute.market_id)).state == "FINALIZED"

        await eventually_async(final, timeout_s=60)
        assert (await doors.market(dispute.market_id)).final_outcome == "YES"
        assert len(await database.fetch(ENDINGS, dispute.market_id)) == 1
        assert await database.fetch(AGGREGATION, dispute.market_id) == []
    await database.close()
