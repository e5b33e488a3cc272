"""Watches and sockets through the real Envoy stay open for as long as both sides live, whatever its idle limit."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import grpc
import httpx
import pytest
import websockets

from app.embedded.envoy import STREAM_IDLE_TIMEOUT_S
from grpc_server.watches import BOOKMARK_S
from tests.support.front import LOOPBACK, Front, running_front
from tests.support.grpc_parts import Person, market_id_of, observed, served
from zmart.v1 import market_service_pb2 as pb
from zmart.v1.market_service_pb2_grpc import MarketServiceStub

MARKET = market_id_of(1)
SEVEN_MINUTES_S = 420


@pytest.fixture(scope="module")
def front(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Front]:
    """Cuts whatever is silent for four seconds: a machine under load stands for one at times."""
    with running_front(tmp_path_factory.mktemp("front"), stream_idle_timeout_s=4) as front:
        yield front


@asynccontextmanager
async def behind(front: Front, bookmark_s: float) -> AsyncIterator[None]:
    """A gRPC server, and a bridge that says nothing before it is asked."""

    async def echo(socket: websockets.ServerConnection) -> None:
        async for message in socket:
            await socket.send(message)

    async with served(port=front.grpc_port, bookmark_s=bookmark_s) as running:
        running.accounts.put(observed(1, Person().wallet))
        async with websockets.serve(echo, LOOPBACK, front.bridge_port, ping_interval=None):
            yield


async def stay_open(front: Front, bookmarks: int) -> None:
    """A watch by gRPC and one by REST for so many bookmarks, and a socket that is silent meanwhile and answers then."""
    async with (
        grpc.aio.insecure_channel(front.target) as channel,
        httpx.AsyncClient(base_url=front.url, timeout=60) as http,
        http.stream("GET", f"/api/markets/{MARKET}/watch") as rest,
        websockets.connect(f"ws://{front.target}/ws", proxy=None, ping_interval=None) as socket,
    ):
        native = aiter(MarketServiceStub(channel).WatchMarket(pb.WatchMarketRequest(market_id=MARKET)))
        lines = aiter(rest.aiter_lines())
        assert "snapshot" in json.loads(await anext(lines))
        assert (await anext(native)).HasField("snapshot")
        for _ in range(bookmarks):
            assert json.loads(await anext(lines))["bookmark"] == {"seq": "0"}
            assert (await anext(native)).HasField("bookmark")
        await socket.send("still here")
        assert await socket.recv() == "still here"


async def test_watches_and_a_silent_socket_outlive_the_idle_limit(front: Front) -> None:
    async with behind(front, bookmark_s=0.2):
        await stay_open(front, bookmarks=24)


async def test_a_stream_without_a_sign_of_life_is_ended(front: Front) -> None:
    async with behind(front, bookmark_s=60), grpc.aio.insecure_channel(front.target) as channel:
        watch = aiter(MarketServiceStub(channel).WatchMarket(pb.WatchMarketRequest(market_id=MARKET)))
        assert (await anext(watch)).HasField("snapshot")
        with pytest.raises(grpc.aio.AioRpcError):
            await anext(watch)


@pytest.fixture
def real_front(tmp_path: Path) -> Iterator[Front]:
    """Has the idle limit of every day."""
    with running_front(tmp_path, stream_idle_timeout_s=STREAM_IDLE_TIMEOUT_S) as front:
        yield front


@pytest.mark.long
@pytest.mark.timeout(SEVEN_MINUTES_S + 120)
async def test_watches_and_a_silent_socket_stay_open_for_seven_minutes_under_the_real_limits(real_front: Front) -> None:
    async with behind(real_front, bookmark_s=BOOKMARK_S):
        await stay_open(real_front, bookmarks=int(SEVEN_MINUTES_S / BOOKMARK_S))
