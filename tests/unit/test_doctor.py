"""The doctor's judgments, and what it makes of settings and of a data dir."""

from __future__ import annotations

import json
import os
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from app.cli import main
from app.config import Settings
from app.diagnosis import (
    Finding,
    Verdict,
    error,
    exit_status,
    judge_cluster,
    judge_config,
    judge_key,
    judge_migrations,
    judge_mode,
    judge_ports,
    ok,
    unknown_settings,
    warning,
)
from app.doctor import locate
from app.embedded import free_port
from app.runner import RUN_ID_VARIABLE
from domain.ids import Wallet
from domain.observed import ChainConfig

OURS, THEIRS = Wallet("7xd1BoposoUArdqLxhaEUq2Xy1cU8sNrSASWbncNcPoX"), Wallet("1" * 32)
MAINNET = "5eykt4UsFv8P8NJdTREpY1vzqKqZKvdpKuc147dw2N9d"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty current folder, and none of our variables in the environment."""
    for name in [name for name in os.environ if name.startswith("ZMART_")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def doctor(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["doctor", "--json", *arguments])


def findings(result: Result) -> dict[str, Any]:
    return {finding["subject"]: finding for finding in json.loads(result.stdout)["findings"]}


def chain_config(is_paused: bool = False) -> ChainConfig:
    return ChainConfig(
        slot=1,
        admin=OURS,
        backend_authority=OURS,
        proposal_threshold_bps=7000,
        dispute_threshold_bps=6000,
        dispute_period_s=259_200,
        is_paused=is_paused,
        may_aggregate=True,
        may_approve=True,
    )


# --- judgments --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("seen", "status"),
    [
        ([ok("a", "b")], 0),
        ([ok("a", "b"), warning("a", "b", "c")], 0),
        ([ok("a", "b"), error("a", "b", "c"), ok("a", "b")], 1),
    ],
)
def test_only_an_error_makes_the_exit_status_one(seen: list[Finding], status: int) -> None:
    assert exit_status(seen) == status


def test_pending_migrations_are_an_error_that_names_them_and_the_command() -> None:
    finding = judge_migrations("there", ["0005_alerts", "0006_sign_in"])
    assert finding.verdict is Verdict.ERROR
    assert "2 migration(s): 0005_alerts to 0006_sign_in" in finding.seen
    assert "zmart migrate" in finding.mend
    assert judge_migrations("there", []).verdict is Verdict.OK


def test_a_key_that_the_chain_does_not_name_is_an_error_that_names_both() -> None:
    finding = judge_key("backend key", "ZMART_BACKEND_KEYPAIR", OURS, THEIRS)
    assert finding.verdict is Verdict.ERROR
    assert OURS in finding.seen
    assert THEIRS in finding.seen
    assert finding.mend.startswith("Set ZMART_BACKEND_KEYPAIR")


def test_a_key_that_could_not_be_compared_is_not_called_good() -> None:
    assert judge_key("admin key", "ZMART_ADMIN_KEYPAIR", OURS, None).verdict is Verdict.WARNING
    assert judge_key("admin key", "ZMART_ADMIN_KEYPAIR", OURS, OURS).verdict is Verdict.OK


@pytest.mark.parametrize(("mode", "complaints"), [(0o100600, 0), (0o100400, 0), (0o100640, 1), (0o100604, 1)])
def test_a_key_file_that_others_may_read_is_complained_about(mode: int, complaints: int) -> None:
    assert len(judge_mode("backend key", Path("key.json"), mode)) == complaints


def test_a_public_cluster_that_sign_in_messages_do_not_name_is_a_warning() -> None:
    _, complaint = judge_cluster("https://rpc", 5, MAINNET, "localnet")
    assert complaint.verdict is Verdict.WARNING
    assert complaint.mend == "Set ZMART_SIGN_IN_CHAIN=mainnet."


@pytest.mark.parametrize(("genesis", "chain"), [(MAINNET, "mainnet"), (MAINNET, "solana:mainnet"), (OURS, "localnet")])
def test_a_cluster_that_is_named_or_private_is_no_complaint(genesis: str, chain: str) -> None:
    (finding,) = judge_cluster("https://rpc", 5, genesis, chain)
    assert finding.verdict is Verdict.OK
    assert "slot 5" in finding.seen


def test_a_paused_program_is_a_warning() -> None:
    assert judge_config(OURS, chain_config(is_paused=True)).verdict is Verdict.WARNING
    assert judge_config(OURS, chain_config()).verdict is Verdict.OK


def test_a_taken_port_is_an_error_that_names_its_setting() -> None:
    (finding,) = judge_ports({"grpc": 50051, "bridge": 3001}, ["bridge"])
    assert finding.verdict is Verdict.ERROR
    assert "3001 (bridge)" in finding.seen
    assert "ZMART_BRIDGE_PORT" in finding.mend


def test_a_misspelt_variable_is_a_warning_with_the_name_that_was_meant() -> None:
    (finding,) = unknown_settings({"databse_url": "the environment", "grpc_port": "the environment"})
    assert finding.verdict is Verdict.WARNING
    assert finding.mend == "Did you mean ZMART_DATABASE_URL?"


# --- settings ---------------------------------------------------------------------------------------------------------


def test_an_invalid_variable_is_reported_with_its_source(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / ".env").write_text("ZMART_SLOT_MS=1\nZMART_SHARDS=2\n")
    monkeypatch.setenv("ZMART_GRPC_PORT", "many")
    result = doctor()
    assert result.exit_code == 1
    assert "the environment" in findings(result)["ZMART_GRPC_PORT"]["mend"]
    assert "the file .env" in findings(result)["ZMART_SLOT_MS"]["mend"]


def test_production_without_its_settings_is_reported_by_their_names(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ZMART_ENV", "production")
    result = doctor()
    assert result.exit_code == 1
    assert "ZMART_DATABASE_URL" in findings(result)["settings"]["seen"]


def test_the_value_of_an_invalid_setting_is_not_printed(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ZMART_DATABASE_POOL", "hunter2")
    assert "hunter2" not in doctor().stdout


# --- a data dir without a system --------------------------------------------------------------------------------------


def free_ports(monkeypatch: pytest.MonkeyPatch, **taken: int) -> None:
    """Every port is one that nobody listens on, except those given."""
    for name in ("envoy", "grpc", "bridge", "ledger_rpc", "envoy_admin", "actor_admin"):
        monkeypatch.setenv(f"ZMART_{name}_PORT".upper(), str(taken.get(name, free_port())))


def test_an_empty_folder_is_healthy_and_zmart_up_will_start_the_rest(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    free_ports(monkeypatch)
    result = doctor("--data-dir", "state")
    assert result.exit_code == 0, result.stdout
    seen = findings(result)
    assert "zmart up" in seen["database"]["seen"]
    assert "zmart up" in seen["redis"]["seen"]
    assert "zmart up" in seen["RPC"]["seen"]
    assert not (folder / "state").exists(), "the doctor changes nothing"


@pytest.fixture
def listener() -> Iterator[int]:
    """A port that somebody else listens on."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def test_a_port_that_somebody_listens_on_is_an_error(
    folder: Path, monkeypatch: pytest.MonkeyPatch, listener: int
) -> None:
    free_ports(monkeypatch, grpc=listener)
    result = doctor()
    assert result.exit_code == 1
    assert f"port {listener} (grpc)" in findings(result)["ports"]["seen"]


def test_a_connection_file_of_a_killed_run_is_not_taken_for_a_running_system(folder: Path) -> None:
    # The pid lives, but it is this test's: only the mark of the run tells.
    (folder / "connection.json").write_text(json.dumps({"run_id": "gone", "pids": {"grpc": [os.getpid()]}}))
    target, (finding,) = locate(Settings(data_dir=folder))
    assert finding.verdict is Verdict.WARNING
    assert target.endpoints == {}


@pytest.fixture
def marked_process() -> Iterator[int]:
    """A process of the run `alive`."""
    with subprocess.Popen(["cat"], env={RUN_ID_VARIABLE: "alive"}, stdin=subprocess.PIPE) as process:
        yield process.pid
        process.kill()


def test_a_running_system_is_looked_at_where_its_connection_file_says(folder: Path, marked_process: int) -> None:
    connection = {
        "run_id": "alive",
        "pids": {"grpc": [marked_process]},
        "envoy_url": "http://127.0.0.1:1",
        "grpc_target": "127.0.0.1:2",
        "ws_url": "ws://127.0.0.1:3/ws",
        "rpc_url": "http://127.0.0.1:4",
        "database_url": "postgresql://there/zmart",
        "redis_url": "redis://there/0",
        "program_id": OURS,
        "backend_keypair": "backend.json",
        "admin_keypair": None,
    }
    (folder / "connection.json").write_text(json.dumps(connection))
    target, (finding,) = locate(Settings(data_dir=folder))
    assert finding.verdict is Verdict.OK
    assert target.endpoints == {"envoy": "127.0.0.1:1", "grpc": "127.0.0.1:2", "bridge": "127.0.0.1:3"}
    assert (target.database_url, target.admin_key) == ("postgresql://there/zmart", None)
