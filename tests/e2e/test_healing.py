"""Whatever dies, votes go on: it is replaced, nothing that was acknowledged is missing, and nobody is left behind."""

from __future__ import annotations

import asyncio
import os
import signal
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field

import asyncpg
import grpc
import psutil
import pytest
from solders.keypair import Keypair

from app.connection import read_connection
from app.demo.doors import Doors, SignedIn
from app.demo.run import running_system
from app.restarts import LOSSES_HEARD
from domain.ids import MarketId
from tests.support.eventually import eventually_async
from tests.support.system import FAST, RunningSystem, create_markets, new_market_id
from zmart.v1 import vote_service_pb2, vote_service_pb2_grpc

VOTE_S_MAX = 60.0
REPEATABLE = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.UNKNOWN)
MARKETS = 8
BETWEEN_TWO = (ValueError, IndexError, KeyError, psutil.NoSuchProcess, FileNotFoundError)
"""How looking for a process ends while it, or its neighbour, is being replaced."""


@dataclass
class Battered:
    """A system that is hurt again and again, and what it has acknowledged so far."""

    system: RunningSystem
    markets: list[MarketId] = field(default_factory=list)
    acknowledged: dict[tuple[str, str], str] = field(default_factory=dict)

    def pid(self, role: str) -> int:
        """The present process of a role, from what `zmart up` writes down."""
        pids: list[int] = read_connection(self.system.data_dir)["pids"][role]
        return pids[0]

    async def living_shard(self) -> int:
        """A shard that serves; what is written down follows a death of PostgreSQL or of a shard within a second."""

        async def found() -> int | None:
            pids: list[int] = read_connection(self.system.data_dir)["pids"]["shard"]
            return next((pid for pid in pids if psutil.pid_exists(pid)), None)

        shard = await eventually_async(found)
        assert shard is not None
        return shard

    async def vote(self) -> None:
        """One vote on every market by a new wallet, repeated with the same request_id until it is acknowledged."""
        wallet = self.system.token(Keypair())
        async with grpc.aio.insecure_channel(self.system.connection["grpc_target"]) as channel:
            stub = vote_service_pb2_grpc.VoteServiceStub(channel)
            async with asyncio.timeout(VOTE_S_MAX):
                await asyncio.gather(*(self._cast(stub, market, wallet) for market in self.markets))

    async def _cast(self, stub: vote_service_pb2_grpc.VoteServiceAsyncStub, market: MarketId, wallet: SignedIn) -> None:
        request = vote_service_pb2.CastProposalVoteRequest(
            market_id=market, vote="dislike", request_id=str(uuid.uuid4())
        )
        while True:
            try:
                answer = await stub.CastProposalVote(
                    request, metadata=(("authorization", f"Bearer {wallet.token}"),), timeout=10, wait_for_ready=True
                )
            except grpc.aio.AioRpcError as error:
                assert error.code() in REPEATABLE, error
            else:
                self.acknowledged[market, wallet.wallet] = answer.vote_id
                return

    async def compare(self) -> None:
        """Every acknowledged vote is stored under its id, and the tallies are exactly these votes."""
        database = await asyncpg.connect(self.system.connection["database_url"])
        rows = await database.fetch("SELECT id::text, market_id, user_pubkey FROM vote_records")
        assert {(row["market_id"], row["user_pubkey"]): row["id"] for row in rows} == self.acknowledged
        tallies = await database.fetch("SELECT market_id, dislikes FROM markets")
        voters = len(self.acknowledged) // MARKETS
        assert {row["market_id"]: row["dislikes"] for row in tallies} == dict.fromkeys(self.markets, voters)
        await database.close()


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Battered]:
    data_dir = tmp_path_factory.mktemp("battered")
    with running_system(data_dir, FAST) as connection:
        yield Battered(RunningSystem(connection, data_dir))


@pytest.fixture
async def battered(running: Battered) -> AsyncIterator[Battered]:
    if not running.markets:
        running.markets = [new_market_id() for _ in range(MARKETS)]
        async with running.system.doors() as doors:
            await create_markets(doors, running.markets)
    await running.vote()
    yield running


def logger_of(battered: Battered) -> int:
    """Thespian's logger: the admin's child that is not the supervisor."""
    supervisor = battered.pid("supervisor")
    (logger,) = {child.pid for child in psutil.Process(battered.pid("admin")).children()} - {supervisor}
    return logger


def agent_of(battered: Battered) -> int:
    """The chain agent: the supervisor's child that owns no virtual shard."""
    shards = set(read_connection(battered.system.data_dir)["pids"]["shard"])
    (agent,) = {child.pid for child in psutil.Process(battered.pid("supervisor")).children()} - shards
    return agent


VICTIMS: dict[str, Callable[[Battered], int]] = {
    "shard": lambda battered: battered.pid("shard"),
    "chain agent": agent_of,
    "supervisor": lambda battered: battered.pid("supervisor"),
    "admin": lambda battered: battered.pid("admin"),
    "logger": logger_of,
    "launcher": lambda battered: battered.pid("launcher"),
    "gRPC server": lambda battered: battered.pid("grpc"),
    "notifier": lambda battered: battered.pid("notifier"),
    "bridge": lambda battered: battered.pid("bridge"),
    "alerts": lambda battered: battered.pid("alerts"),
    "indexer": lambda battered: battered.pid("indexer"),
    "Valkey": lambda battered: battered.pid("valkey"),
    "ledger": lambda battered: battered.pid("ledger"),
    "Envoy": lambda battered: battered.pid("envoy"),
    "PostgreSQL": lambda battered: battered.pid("postgres"),
}


@pytest.mark.parametrize("victim", VICTIMS)
async def test_votes_go_on_after_the_death_of(victim: str, battered: Battered) -> None:
    find = VICTIMS[victim]

    async def found() -> int | None:
        """What is written down follows the death before within a second or two."""
        try:
            pid = find(battered)
        except BETWEEN_TWO:
            return None
        return pid if psutil.pid_exists(pid) else None

    pid = await eventually_async(found)
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    await battered.vote()
    await battered.compare()

    async def replaced() -> bool:
        try:
            return find(battered) != pid
        except BETWEEN_TWO:
            return False

    await eventually_async(replaced, timeout_s=60)


async def test_a_shard_that_hangs_is_killed_and_its_late_writes_count_for_nothing(battered: Battered) -> None:
    pid = await battered.living_shard()
    os.kill(pid, signal.SIGSTOP)
    await battered.vote()
    await battered.compare()

    async def gone() -> bool:
        return not psutil.pid_exists(pid)

    await eventually_async(gone)


async def test_a_shard_whose_database_session_is_ended_is_replaced(battered: Battered) -> None:
    database = await asyncpg.connect(battered.system.connection["database_url"])
    ended = await database.fetchval(
        "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE application_name = 'zmart-shard'"
    )
    await database.close()
    assert ended == 2
    await battered.vote()
    await battered.compare()


async def test_the_feed_reaches_browsers_again_after_all_that(battered: Battered) -> None:
    market = battered.markets[0]
    async with battered.system.doors() as doors:
        await _see_a_vote(doors, battered, market)
    await battered.compare()


async def _see_a_vote(doors: Doors, battered: Battered, market: MarketId) -> None:
    viewer = battered.system.token(Keypair())
    async with doors.watching(viewer, market) as watch:
        snapshot = await watch.until("SNAPSHOT")
        await battered.vote()
        update = await watch.until("VOTE_UPDATE")
    assert update["dislikes"] == snapshot["dislikes"] + 1
    assert update["seq"] == snapshot["seq"] + 1


async def test_a_role_that_ends_five_times_is_heard_of(battered: Battered) -> None:
    killed = set[int]()

    async def another() -> int | None:
        try:
            pid = battered.pid("envoy")
        except (KeyError, FileNotFoundError):
            return None  # between two processes
        return None if pid in killed or not psutil.pid_exists(pid) else pid

    for _ in range(LOSSES_HEARD):
        pid = await eventually_async(another)
        assert pid is not None
        killed.add(pid)
        os.kill(pid, signal.SIGKILL)
    await eventually_async(lambda: is_open(battered, "role_restarting:envoy"))


@pytest.mark.long
async def test_a_shard_that_does_not_come_up_is_heard_of_and_so_is_its_return(battered: Battered) -> None:
    # given somebody who waits for one of its virtual shards, when it dies
    pid = await battered.living_shard()
    greedy = await asyncpg.connect(battered.system.connection["database_url"])
    vshard = await greedy.fetchval("SELECT min(id)::int FROM virtual_shards WHERE pid = $1", pid)
    slot = await greedy.fetchval("SELECT slot FROM shard_heartbeats WHERE pid = $1", pid)
    waiting = asyncio.create_task(greedy.execute("SELECT pg_advisory_lock(77, $1)", vshard))
    await eventually_async(lambda: is_waited_for(battered, vshard))
    os.kill(pid, signal.SIGKILL)
    # then people hear after half a minute, and again when it is back
    await waiting
    await eventually_async(lambda: is_open(battered, f"shard_down:{slot}"), timeout_s=90)
    await greedy.close()

    async def is_over() -> bool:
        return not await is_open(battered, f"shard_down:{slot}")

    await eventually_async(is_over, timeout_s=60)
    await battered.vote()
    await battered.compare()


OPEN = "SELECT count(*) FROM alerts WHERE dedupe_key = $1 AND resolved_at IS NULL"
WAITED_FOR = """
SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND classid = 77 AND objid::int = $1 AND NOT granted
"""


async def is_open(battered: Battered, dedupe_key: str) -> bool:
    return await counted(battered, OPEN, dedupe_key)


async def is_waited_for(battered: Battered, vshard: int) -> bool:
    return await counted(battered, WAITED_FOR, vshard)


async def counted(battered: Battered, statement: str, argument: object) -> bool:
    database = await asyncpg.connect(battered.system.connection["database_url"])
    found = await database.fetchval(statement, argument)
    await database.close()
    return bool(found)
