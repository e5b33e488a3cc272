"""Tallies reach the chain on the grid, only when they changed; a market's state moves only by the chain's answer."""

from __future__ import annotations

import struct
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import asyncpg
import grpc
import pytest
from solders.keypair import Keypair

from app.demo.doors import Doors, reason
from app.demo.run import running_system
from app.demo.story import GRID_S, STATE_AT, TALLIES_AT
from domain.ids import MarketId
from tests.support.eventually import eventually_async
from tests.support.system import FAST, RunningSystem, create_markets, new_market_id
from zmart.v1 import ops_service_pb2
from zmart.v1.ops_service_pb2_grpc import OpsServiceStub

NOTES = """
SELECT status, yes_votes, no_votes, percentage_bps, threshold_bps, threshold_met, transaction_signature IS NOT NULL
FROM aggregation_results WHERE market_id = $1 ORDER BY created_at
"""
TRANSACTIONS = """
SELECT action, status, raw IS NOT NULL AND signature IS NOT NULL AS stored, applied_at IS NOT NULL AS applied
FROM chain_transactions WHERE market_id = $1 ORDER BY planned_at
"""


@pytest.fixture
async def database(system: RunningSystem) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(system.connection["database_url"])
    yield connection
    await connection.close()


async def cast(system: RunningSystem, doors: Doors, market_id: MarketId, likes: int, dislikes: int) -> None:
    for word in ["dislike"] * dislikes + ["like"] * likes:
        await doors.cast(system.token(Keypair()), market_id, word)


async def settled(database: asyncpg.Connection, market_id: MarketId, actions: list[str]) -> list[Any]:
    """The market's transactions once those of `actions`, and only those, have ended and were taken in."""

    async def ended() -> list[Any] | None:
        rows = list(await database.fetch(TRANSACTIONS, market_id))
        return rows if [row["action"] for row in rows] == actions and all(row["applied"] for row in rows) else None

    rows = await eventually_async(ended, timeout_s=60)
    assert rows is not None
    return rows


async def test_changed_tallies_are_sent_once_and_recorded(system: RunningSystem, database: asyncpg.Connection) -> None:
    market_id = new_market_id()
    async with system.doors() as doors:
        await create_markets(doors, [market_id])
        await cast(system, doors, market_id, likes=2, dislikes=1)
        await doors.advance_clock(GRID_S)
        (sent,) = await settled(database, market_id, ["aggregate_proposal_votes"])
        assert sent["stored"]
        assert sent["status"] in ("confirmed", "finalized")
        await doors.advance_clock(GRID_S)
        await cast(system, doors, market_id, likes=1, dislikes=0)
        await doors.advance_clock(GRID_S)
        await settled(database, market_id, ["aggregate_proposal_votes"] * 2)
        assert (await doors.market(market_id)).state == "PROPOSED", "three of four likes pass, four votes are no quorum"
        assert (await doors.account_bytes(market_id))[STATE_AT] == 0
    notes = [tuple(row) for row in await database.fetch(NOTES, market_id)]
    assert notes == [
        ("confirmed", 2, 1, 6666, 7000, False, True),
        ("confirmed", 3, 1, 7500, 7000, False, True),
    ]


async def test_one_basis_point_short_is_sent_and_not_approved(
    system: RunningSystem, database: asyncpg.Connection
) -> None:
    market_id = new_market_id()
    async with system.doors() as doors:
        await create_markets(doors, [market_id])
        await cast(system, doors, market_id, likes=9, dislikes=4)
        await doors.advance_clock(GRID_S)
        await settled(database, market_id, ["aggregate_proposal_votes"])
        market = await doors.market(market_id)
    assert (market.state, market.approval_ready) == ("PROPOSED", False)
    assert [tuple(row)[3:6] for row in await database.fetch(NOTES, market_id)] == [(6923, 7000, False)]


async def test_passing_tallies_are_approved_and_voting_ends(
    system: RunningSystem, database: asyncpg.Connection
) -> None:
    market_id = new_market_id()
    async with system.doors() as doors:
        await create_markets(doors, [market_id])
        await cast(system, doors, market_id, likes=7, dislikes=3)
        await doors.advance_clock(GRID_S)
        await settled(database, market_id, ["aggregate_proposal_votes", "approve_proposal"])
        assert (await doors.market(market_id)).state == "APPROVED"
        account = await doors.account_bytes(market_id)
        assert (account[STATE_AT], *struct.unpack_from("<III", account, TALLIES_AT)) == (1, 7, 3, 10)
        notes = [tuple(row) for row in await database.fetch(NOTES, market_id)]
        assert notes == [("confirmed", 7, 3, 7000, 7000, True, True)]
        with pytest.raises(grpc.aio.AioRpcError) as late:
            await cast(system, doors, market_id, likes=1, dislikes=0)
    assert reason(late.value) == "WRONG_STATE"


async def test_an_operator_aggregates_without_waiting_for_the_grid(
    system: RunningSystem, database: asyncpg.Connection
) -> None:
    market_id = new_market_id()
    metadata = (("authorization", f"Bearer {system.connection['operator_token']}"),)
    async with system.doors() as doors, grpc.aio.insecure_channel(system.connection["grpc_target"]) as channel:
        operators = OpsServiceStub(channel)
        await create_markets(doors, [market_id])
        await cast(system, doors, market_id, likes=2, dislikes=1)
        request = ops_service_pb2.AggregateNowRequest(market_id=market_id)
        sent = await operators.AggregateNow(request, metadata=metadata, timeout=20)
        assert sent.status in ("submitted", "confirmed")
        await settled(database, market_id, ["aggregate_proposal_votes"])
        skipped = await operators.AggregateNow(request, metadata=metadata, timeout=20)
        assert (skipped.status, skipped.transaction_signature) == ("skipped", "")
        listing = ops_service_pb2.ListAggregationsRequest(market_id=market_id)
        listed = (await operators.ListAggregations(listing, metadata=metadata, timeout=20)).aggregations
    assert [(row.status, row.reason) for row in listed] == [("skipped", "unchanged"), ("confirmed", "")]
    assert [row.aggregation_id for row in listed] == [skipped.aggregation_id, sent.aggregation_id]
    assert (listed[1].transaction_signature, listed[1].votes_size) == (sent.transaction_signature, 3)


async def test_without_the_admin_key_a_person_is_called(
    tmp_path: Path, system: RunningSystem, database_url: str
) -> None:
    """A backend that holds only its own key sends the tallies, shows `approval_ready`, raises one alert, stays open."""
    elsewhere = {
        "ZMART_DATABASE_URL": database_url,
        "ZMART_REDIS_URL": system.connection["redis_url"],
        "ZMART_SOLANA_RPC_URL": system.connection["rpc_url"],
        "ZMART_BACKEND_KEYPAIR": system.connection["backend_keypair"],
    }
    market_id = new_market_id()
    with running_system(tmp_path, FAST | elsewhere) as connection:
        keyless = RunningSystem(connection, tmp_path)
        database = await asyncpg.connect(database_url)
        async with keyless.doors() as doors:
            await create_markets(doors, [market_id])
            await cast(keyless, doors, market_id, likes=7, dislikes=3)
            await doors.advance_clock(GRID_S)
            await settled(database, market_id, ["aggregate_proposal_votes"])
            market = await doors.market(market_id)
            assert (market.state, market.approval_ready) == ("PROPOSED", True)
            await cast(keyless, doors, market_id, likes=1, dislikes=0)
            assert (await doors.tally(market_id)).proposal.likes == 8
        alerts = await database.fetch("SELECT alert_type, severity FROM alerts WHERE market_id = $1", market_id)
        await database.close()
    assert [tuple(alert) for alert in alerts] == [("approval_ready", "HIGH")]
