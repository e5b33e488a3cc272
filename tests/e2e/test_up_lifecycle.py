"""`zmart up` leaves nothing behind, however it ends, and forgets nothing that it acknowledged."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from pathlib import Path

import grpc
import pytest
from solders.keypair import Keypair

from app.demo.doors import reason
from app.demo.run import running_system
from app.embedded import free_port_base
from app.up import CONNECTION_FILE, read_connection
from tests.support.eventually import eventually
from tests.support.processes import alive, family_of, processes_of_run
from tests.support.system import FAST, RunningSystem, create_markets, new_market_id
from tests.support.valkey import ValkeyServer


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
        eventually(lambda: not processes_of_run(connection["run_id"]), timeout_s=10)
        eventually(lambda: not alive(family), timeout_s=10)
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
