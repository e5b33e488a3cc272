"""`zmart up` leaves nothing behind, however it ends, and forgets nothing that it acknowledged."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import grpc
import psutil
import pytest
from solders.keypair import Keypair

from app.connection import CONNECTION_FILE, read_connection
from app.demo.doors import Doors, SignedIn, reason
from app.demo.run import READY_S_MAX, running_system
from app.embedded import free_port_base
from domain.ids import MarketId
from tests.support.eventually import eventually, eventually_async
from tests.support.processes import alive, family_of, processes_of_run
from tests.support.system import FAST, RunningSystem, create_markets, new_market_id
from tests.support.valkey import ValkeyServer
from zmart.v1 import vote_service_pb2, vote_service_pb2_grpc


async def test_a_killed_system_leaves_no_process_and_its_successor_knows_every_vote(tmp_path: Path) -> None:
    market_id, voters = new_market_id(), [Keypair() for _ in range(5)]
    with running_system(tmp_path, FAST) as connection:
        system = RunningSystem(connection, tmp_path)
        async with system.doors() as doors:
            await create_markets(doors, [market_id])
            answers = [await doors.cast(system.token(voter), market_id, "like") for voter in voters]
        (up,) = connection["pids"]["up"]
        family = family_of(up)
        assert len(processes_of_run(connection["run_id"])) > 8, "the scan sees what it is to miss later"
        os.kill(up, signal.SIGKILL)
        eventually(lambda: not processes_of_run(connection["run_id"]), timeout_s=60)
        eventually(lambda: not alive(family), timeout_s=60)
    with running_system(tmp_path, FAST) as connection:
        system = RunningSystem(connection, tmp_path)
        async with system.doors() as doors:
            tally = (await doors.tally(market_id)).proposal
            assert (tally.likes, tally.dislikes) == (len(answers), 0)
            with pytest.raises(grpc.aio.AioRpcError) as second:
                await doors.cast(system.token(voters[0]), market_id, "dislike")
    assert reason(second.value) == "ALREADY_VOTED"


async def test_configured_services_replace_their_embedded_twins_and_a_stop_is_clean(
    tmp_path: Path, database_url: str, valkey: ValkeyServer, system: RunningSystem
) -> None:
    """The RPC is the shared system's ledger; its keys and program are configured like a foreign cluster's."""
    elsewhere = {
        "ZMART_DATABASE_URL": database_url,
        "ZMART_REDIS_URL": valkey.url,
        "ZMART_SOLANA_RPC_URL": system.connection["rpc_url"],
        "ZMART_BACKEND_KEYPAIR": system.connection["backend_keypair"],
    }
    market_id = new_market_id()
    with running_system(tmp_path, elsewhere) as connection:
        assert not {"postgres", "valkey", "ledger"} & connection["pids"].keys()
        assert connection["database_url"] == database_url
        assert json.loads((tmp_path / CONNECTION_FILE).read_text())["run_id"] == connection["run_id"]
        assert (tmp_path / CONNECTION_FILE).stat().st_mode & 0o777 == 0o600
        other = RunningSystem(connection, tmp_path)
        async with other.doors() as doors:
            await create_markets(doors, [market_id])
            await doors.cast(other.token(Keypair()), market_id, "dislike")
            assert (await doors.tally(market_id)).proposal.dislikes == 1
    assert processes_of_run(connection["run_id"]) == []
    assert not (tmp_path / CONNECTION_FILE).exists()


async def test_a_second_system_over_the_same_data_dir_is_refused_with_a_sentence(system: RunningSystem) -> None:
    before = read_connection(system.data_dir)
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "app", "up", "--data-dir", str(system.data_dir), "--port-base", "29000"),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    _, said = await process.communicate()
    assert process.returncode == 1
    (up,) = system.connection["pids"]["up"]
    assert f"another zmart up (pid {up})" in said.decode()
    assert "Traceback" not in said.decode()
    assert read_connection(system.data_dir)["run_id"] == before["run_id"], "the first one goes on"


async def test_a_port_that_is_taken_is_refused_before_anything_starts(tmp_path: Path, system: RunningSystem) -> None:
    """Else the stranger's answer would pass for our own server's, and votes would be taken into his database."""
    grpc_port = system.connection["grpc_target"].rpartition(":")[2]
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "app", "up", "--data-dir", str(tmp_path), "--port-base", str(free_port_base(8))),
        env={**os.environ, "ZMART_GRPC_PORT": grpc_port},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    _, said = await process.communicate()
    assert process.returncode == 1
    assert f":{grpc_port} (grpc) is taken" in said.decode()
    assert not (tmp_path / "postgres").exists()


async def test_calls_in_flight_through_the_front_door_are_answered_before_it_closes(tmp_path: Path) -> None:
    """Frozen shards hold the calls until the stop is under way.

    The stop has come to the role that ends before the server, and waits for it: so shards are frozen for a moment only.
    """
    market_id, voters = new_market_id(), [Keypair() for _ in range(10)]
    with running_system(tmp_path, FAST) as connection:
        system = RunningSystem(connection, tmp_path)
        async with (
            system.doors() as doors,
            grpc.aio.insecure_channel(connection["envoy_url"].removeprefix("http://")) as channel,
        ):
            await create_markets(doors, [market_id])
            await doors.cast(system.token(Keypair()), market_id, "like")
            votes = vote_service_pb2_grpc.VoteServiceStub(channel)
            pids = connection["pids"]
            signal_all(pids["notifier"], signal.SIGSTOP)
            os.kill(pids["up"][0], signal.SIGTERM)
            eventually(lambda: not psutil.pid_exists(pids["alerts"][0]))
            signal_all(pids["shard"], signal.SIGSTOP)
            calls = [cast(votes, system.token(voter), market_id) for voter in voters]
            await votes.GetTally(vote_service_pb2.GetTallyRequest(market_id=market_id))  # came after them, by one way
            signal_all(pids["notifier"], signal.SIGCONT)
            await eventually_async(lambda: told_to_go_elsewhere(doors, market_id))
            signal_all(pids["shard"], signal.SIGCONT)
            assert all([(await call).success for call in calls])


async def told_to_go_elsewhere(doors: Doors, market_id: MarketId) -> bool:
    try:
        await doors.tally(market_id)
    except grpc.aio.AioRpcError as error:
        return error.code() is grpc.StatusCode.UNAVAILABLE
    return False


def cast(
    votes: vote_service_pb2_grpc.VoteServiceAsyncStub, voter: SignedIn, market_id: MarketId
) -> grpc.aio.UnaryUnaryCall[Any, Any]:
    request = vote_service_pb2.CastProposalVoteRequest(market_id=market_id, vote="like")
    return votes.CastProposalVote(request, metadata=(("authorization", f"Bearer {voter.token}"),), timeout=20.0)


def signal_all(pids: list[int], number: signal.Signals) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):  # the supervisor may have ended one that did not answer
            os.kill(pid, number)


def test_a_stop_is_obeyed_while_the_system_still_starts(tmp_path: Path) -> None:
    """The start cannot come to its end meanwhile: the actors read their secret from a pipe that stays empty."""
    secret = tmp_path / "actors.secret"
    os.mkfifo(secret)
    command = [sys.executable, "-m", "app", "up", "--data-dir", str(tmp_path)]
    command += ["--port-base", str(free_port_base(8))]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as starting:
        pipe = eventually(lambda: opened_by_its_reader(secret), timeout_s=READY_S_MAX)
        assert pipe is not None
        family = family_of(starting.pid)
        starting.terminate()
        words, _ = starting.communicate(timeout=60)
    os.close(pipe)
    assert starting.returncode == 0, words
    assert "zmart is ready" not in words
    assert (tmp_path / "logs" / "postgres.log").exists()
    assert not (tmp_path / "logs" / "envoy.log").exists(), "what had not begun was not begun any more"
    eventually(lambda: not alive(family), timeout_s=60)


def opened_by_its_reader(pipe: Path) -> int | None:
    """The writing end, which keeps the reader waiting; None while nobody reads."""
    try:
        return os.open(pipe, os.O_WRONLY | os.O_NONBLOCK)
    except OSError as error:
        assert error.errno == errno.ENXIO
        return None
