"""Operators and WebSocket connections: gRPC, the rows between, and two bridges with browsers."""

from __future__ import annotations

import asyncio
import contextlib
import json
import uuid
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner
from websockets.exceptions import ConnectionClosed

from app.cli import main
from app.wiring_bridges import BridgeRows
from domain.connections import BridgeAnswer
from identity import Tier
from storage.bridges import BridgeBook, BridgeOrders
from tests.support.bridge import RunningBridge, running_bridge
from tests.support.feed import MARKET, Book
from tests.support.grpc_parts import Person, Served, failure, served
from tests.support.storage import PostgresGround
from tests.support.valkey import ValkeyServer
from ws_bridge.orders import take_orders
from zmart.v1 import ops_service_pb2 as pb
from zmart.v1.ops_service_pb2_grpc import OpsServiceStub

CHANNEL = f"market_{MARKET}"
JOINED = ("WELCOME", "SUBSCRIPTION_CONFIRMED", "SNAPSHOT")


@contextlib.asynccontextmanager
async def obedient(valkey: ValkeyServer, ground: PostgresGround) -> AsyncIterator[RunningBridge]:
    """A bridge that takes orders, and is known to live."""
    book = Book()
    book.open(CHANNEL)
    orders = BridgeOrders(ground.database, ground.database_url, str(uuid.uuid4()))
    async with running_bridge(valkey, book) as running:
        await orders.beat(0)
        obeying = asyncio.create_task(take_orders(running.bridge, orders))
        yield running
        obeying.cancel()
        await asyncio.wait([obeying])
        await orders.close()


@pytest.fixture
async def running(real_ground: PostgresGround) -> AsyncIterator[Served]:
    rows = BridgeRows(BridgeBook(real_ground.database))
    async with served(around=lambda parts: replace(parts, bridges=rows)) as running:
        yield running


async def test_connections_of_all_bridges_are_listed_and_a_wallets_are_closed_and_that_is_kept(
    running: Served, valkey: ValkeyServer, real_ground: PostgresGround
) -> None:
    stub, admin = OpsServiceStub(running.channel), running.bearer(None, Tier.ADMIN)
    async with (
        obedient(valkey, real_ground) as one,
        obedient(valkey, real_ground) as two,
        one.browser(f"/ws?channels={CHANNEL}") as first,
        two.browser(f"/ws?channels={CHANNEL}") as second,
        two.browser(bearer=None) as unknown,
    ):
        await first.expect(*JOINED)
        await second.expect(*JOINED)
        wallet = first.told[0]["wallet"]
        # when operators look
        listed = await stub.ListConnections(pb.ListConnectionsRequest(), metadata=admin)
        assert sorted(each.connections for each in listed.bridges) == [1, 2]
        assert all(each.answered for each in listed.bridges)
        assert sorted((each.user_pubkey, each.channels) for each in listed.connections) == sorted(
            [("", 0), (wallet, 1), (wallet, 1)]
        )
        assert listed.total_count == 3
        # when one sends the wallet away
        request = pb.KickConnectionsRequest(user_pubkey=wallet, reason="asked by its owner")
        kicked = await stub.KickConnections(request, metadata=admin)
        assert kicked.closed == 2
        for browser in (first, second):
            with pytest.raises(ConnectionClosed) as closed:
                await browser.socket.recv()
            assert closed.value.rcvd is not None
            assert (closed.value.rcvd.code, closed.value.rcvd.reason) == (4001, "asked by its owner")
        # then the others stay, and who did it and what came of it can be read
        await unknown.say("ping")
        await unknown.expect("ERROR")
        kept = await real_ground.query(
            "SELECT o.wallet, o.reason, o.asked_by <> '' AS is_named, sum(a.matching)::int AS closed"
            " FROM bridge_orders AS o JOIN bridge_answers AS a ON a.order_id = o.id WHERE o.is_kick"
            " GROUP BY o.id"
        )
        assert [tuple(row) for row in kept] == [(wallet, "asked by its owner", True, 2)]


async def test_the_terminal_lists_and_kicks_and_only_operators_may(
    running: Served, valkey: ValkeyServer, real_ground: PostgresGround, tmp_path: Path
) -> None:
    ((_, bearer),) = running.bearer(None, Tier.ADMIN)
    connection = {"grpc_target": running.target, "operator_token": bearer.removeprefix("Bearer ")}
    (tmp_path / "connection.json").write_text(json.dumps(connection))

    async def output(*arguments: str) -> str:
        command = [*arguments, "--data-dir", str(tmp_path)]
        return (await asyncio.to_thread(CliRunner().invoke, main, command, env={"COLUMNS": "300"})).output

    async with obedient(valkey, real_ground) as bridge, bridge.browser(f"/ws?channels={CHANNEL}") as browser:
        (welcome, *_) = await browser.expect(*JOINED)
        shown = await output("connections")
        assert welcome["wallet"] in shown
        assert "1 connections" in shown
        (line,) = (await output("connections", "--json", "--wallet", welcome["wallet"])).splitlines()
        assert json.loads(line)["channels"] == 1
        assert "1 connections closed by order" in await output("kick", welcome["wallet"], "--reason", "spam")
    stub, wallet = OpsServiceStub(running.channel), running.bearer(Person())
    listing = stub.ListConnections(pb.ListConnectionsRequest(), metadata=wallet)
    kicking = stub.KickConnections(pb.KickConnectionsRequest(user_pubkey="1" * 32, reason="x"), metadata=wallet)
    assert [(await failure(call)).info.reason for call in (listing, kicking)] == ["TIER_TOO_LOW"] * 2


async def test_a_reason_is_needed_and_fits_into_a_close_frame(running: Served) -> None:
    stub, admin = OpsServiceStub(running.channel), running.bearer(None, Tier.ADMIN)
    for reason, refusal in ((" ", "TEXT_MISSING"), ("x" * 101, "TEXT_TOO_LONG"), ("a\nb", "TEXT_NOT_PRINTABLE")):
        request = pb.KickConnectionsRequest(user_pubkey="1" * 32, reason=reason)
        assert (await failure(stub.KickConnections(request, metadata=admin))).info.reason == refusal


async def test_an_order_is_carried_out_once_and_soon_and_no_silent_bridge_is_waited_for(
    real_ground: PostgresGround,
) -> None:
    orders = BridgeOrders(real_ground.database, real_ground.database_url, str(uuid.uuid4()))
    book = BridgeBook(real_ground.database)
    await orders.beat(7)
    order_id = await book.order(True, "1" * 32, 0, "why", "who")
    (word,) = await book.words(order_id)
    assert word.answer is None
    (order,) = await orders.open()
    assert (order.order_id, order.is_kick, order.wallet, order.reason) == (order_id, True, "1" * 32, "why")
    for closed in (2, 0):  # again, as after a lost connection: the first answer stands
        await orders.answer(order_id, BridgeAnswer(7, closed, ()))
    assert await orders.open() == []
    (word,) = await book.words(order_id)
    assert word.answer == BridgeAnswer(7, 2, ())
    late_id = await book.order(False, "", 50, "", "who")
    await real_ground.query("UPDATE bridges SET beat_at = now() - interval '16 seconds'")
    assert await book.words(late_id) == []
    await real_ground.query("UPDATE bridge_orders SET asked_at = now() - interval '31 seconds'")
    assert await orders.open() == []
