"""SIGTERM to a gRPC server process while clients vote through it, directly and through Envoy."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import asyncpg
import grpc
import httpx
import pytest
from solders.keypair import Keypair

from app.config import Settings
from app.demo.run import CROWDED
from app.exec_child import guarded
from app.exporter import FOLDER_VARIABLE
from app.identities import tokens
from domain.ids import MarketId, Wallet
from identity import Tier
from tests.support.eventually import eventually_async
from tests.support.front import Front, running_front
from tests.support.system import RunningSystem, create_markets, new_market_id
from zmart.v1 import vote_service_pb2_grpc as votes_grpc
from zmart.v1.vote_service_pb2 import CastProposalVoteRequest, GetTallyRequest

CALL_S = 20.0
EXIT_S_MAX = 60.0
BUSY = 100
"""Votes that are acknowledged before anything is stopped."""
WAITING_FOR = "SELECT count(*) FROM pg_stat_activity WHERE $1 = ANY (pg_blocking_pids(pid))"
IN_TABLE = "SELECT user_pubkey, id::text FROM vote_records WHERE market_id = $1"
GONE = {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED}
"""CANCELLED is grpc's own word for what it had not handed to the server yet."""


@pytest.fixture
def front(tmp_path: Path) -> Iterator[Front]:
    with running_front(tmp_path) as front:
        yield front


@pytest.fixture
def server(system: RunningSystem, front: Front, tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A second server of the shared system, behind an Envoy of its own."""
    env = {
        "ZMART_DATA_DIR": str(system.data_dir),
        "ZMART_PORT_BASE": system.connection["envoy_url"].rpartition(":")[2],
        "ZMART_GRPC_PORT": str(front.grpc_port),
        "ZMART_DATABASE_URL": system.connection["database_url"],
        "ZMART_REDIS_URL": system.connection["redis_url"],
        FOLDER_VARIABLE: str(tmp_path / "metrics"),
    }
    (tmp_path / "metrics").mkdir()
    with (tmp_path / "grpc.log").open("wb") as log:
        process = subprocess.Popen(
            guarded([sys.executable, "-m", "app", "serve", "grpc"], signal.SIGTERM),
            env={**CROWDED, **os.environ, **env},
            stdout=log,
            stderr=log,
        )
    yield process
    process.kill()
    process.wait()


@dataclass
class Crowd:
    """Voters who each cast one vote after the other, every one with a new wallet, until one is refused."""

    market_id: MarketId
    new_token: Callable[[Wallet], str]
    acknowledged: dict[str, str] = field(default_factory=dict)
    """Wallet -> id of its vote."""
    refused: list[object] = field(default_factory=list)
    words: Iterator[str] = field(default_factory=lambda: itertools.cycle(("like", "dislike")))

    async def by_grpc(self, votes: votes_grpc.VoteServiceAsyncStub) -> None:
        while True:
            wallet = Wallet(str(Keypair().pubkey()))
            request = CastProposalVoteRequest(market_id=self.market_id, vote=next(self.words))
            try:
                answer = await votes.CastProposalVote(request, metadata=self._bearer(wallet), timeout=CALL_S)
            except grpc.aio.AioRpcError as error:
                self.refused.append(error.code())
                return
            self.acknowledged[wallet] = answer.vote_id

    async def by_rest(self, http: httpx.AsyncClient) -> None:
        while True:
            wallet = Wallet(str(Keypair().pubkey()))
            body = {"market_id": self.market_id, "vote": next(self.words)}
            answer = await http.post("/api/votes/proposal", json=body, headers=dict(self._bearer(wallet)))
            if answer.status_code != httpx.codes.OK:
                self.refused.append(answer.status_code)
                return
            self.acknowledged[wallet] = answer.json()["vote_id"]

    def _bearer(self, wallet: Wallet) -> tuple[tuple[str, str], ...]:
        return (("authorization", f"Bearer {self.new_token(wallet)}"),)


@contextlib.asynccontextmanager
async def held_back(
    database: asyncpg.Connection, looking: asyncpg.Connection, market_id: MarketId
) -> AsyncIterator[None]:
    """Nothing is counted on the market meanwhile, and a transaction of votes stands waiting; not for two seconds.

    A shard that is silent for longer is ended.
    """

    async def is_waited_for() -> bool:
        return bool(await looking.fetchval(WAITING_FOR, database.get_server_pid()))

    async with database.transaction():
        await database.execute("SELECT FROM markets WHERE market_id = $1 FOR UPDATE", market_id)
        await eventually_async(is_waited_for)
        yield


@dataclass
class Place:
    """The crowd's ways to the server: directly, and through Envoy by gRPC and by REST."""

    direct: grpc.aio.Channel
    proxied: grpc.aio.Channel
    http: httpx.AsyncClient
    database: asyncpg.Connection
    looking: asyncpg.Connection

    def start(self, crowd: Crowd) -> asyncio.Future[list[None]]:
        voters = [crowd.by_grpc(votes_grpc.VoteServiceStub(self.direct)) for _ in range(16)]
        voters += [crowd.by_grpc(votes_grpc.VoteServiceStub(self.proxied)) for _ in range(8)]
        return asyncio.gather(*voters, *(crowd.by_rest(self.http) for _ in range(8)))


@pytest.fixture
async def place(system: RunningSystem, front: Front, server: subprocess.Popen[bytes]) -> AsyncIterator[Place]:
    url = system.connection["database_url"]
    database, looking = await asyncpg.connect(url), await asyncpg.connect(url)
    async with (
        grpc.aio.insecure_channel(f"127.0.0.1:{front.grpc_port}") as direct,
        grpc.aio.insecure_channel(front.target) as proxied,
        httpx.AsyncClient(base_url=front.url, timeout=CALL_S) as http,
    ):
        yield Place(direct, proxied, http, database, looking)
    await database.close()
    await looking.close()


async def is_served(channel: grpc.aio.Channel, market_id: MarketId) -> bool:
    request = GetTallyRequest(market_id=market_id)
    try:
        await votes_grpc.VoteServiceStub(channel).GetTally(request, timeout=CALL_S)
    except grpc.aio.AioRpcError as error:
        assert error.code() in GONE, error
        return False
    return True


async def test_a_real_stop_under_load_fails_no_accepted_vote_and_loses_none_that_was_acknowledged(
    system: RunningSystem, server: subprocess.Popen[bytes], place: Place, tmp_path: Path
) -> None:
    """What was accepted is in the table and nothing else is, so it must be the same as what was acknowledged."""
    market_id, keys = new_market_id(), tokens(Settings(data_dir=system.data_dir))
    async with system.doors() as doors:
        await create_markets(doors, [market_id])
    crowd = Crowd(market_id, lambda wallet: keys.issue(wallet, Tier.WALLET).token)

    async def is_busy() -> bool:
        return len(crowd.acknowledged) >= BUSY

    async def is_up() -> bool:
        assert server.poll() is None, (tmp_path / "grpc.log").read_text()[-2000:]
        return await is_served(place.direct, market_id) and await is_served(place.proxied, market_id)

    await eventually_async(is_up)
    load = place.start(crowd)
    await eventually_async(is_busy)
    async with held_back(place.database, place.looking, market_id):
        before = len(await place.looking.fetch(IN_TABLE, market_id))
        server.send_signal(signal.SIGTERM)
    await asyncio.wait_for(load, EXIT_S_MAX)
    assert await asyncio.to_thread(server.wait, EXIT_S_MAX) == 0
    in_table = {row["user_pubkey"]: row["id"] for row in await place.looking.fetch(IN_TABLE, market_id)}
    assert in_table == crowd.acknowledged
    assert len(in_table) > before, "some were under way when the server was told to stop"
    assert set(crowd.refused) <= GONE | {httpx.codes.SERVICE_UNAVAILABLE, 499}
