"""PostgreSQL as our own child: durable, private, and not to be blocked by what a killed run left behind."""

import dataclasses
import os
import shutil
import signal
import tempfile
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Protocol

import asyncpg
import pytest

from app.embedded import DataDirectoryUnusable, EmbeddedPostgres, NoUnprivilegedIdentity
from app.embedded.postgres import WAL_SEGMENT_MB, binary
from app.embedded.unprivileged import NAMESPACE, OTHER_USER, Identity, unprivileged, works
from app.runner import Runner, StartFailed
from tests.support import embedded_parent
from tests.support.eventually import eventually
from tests.support.postgres import run_sync
from tests.support.processes import processes_of_run

# Every identity this machine allows: a container may forbid user namespaces, and only root can be another user.
IDENTITIES = {
    name: identity
    for name, identity in {"namespace": NAMESPACE, "other-user": OTHER_USER}.items()
    if works(identity, binary("postgres"), Path(tempfile.gettempdir()))
} or {"our-own": Identity((), os.geteuid())}


class StartRunner(Protocol):
    def __call__(self, on_restart: Callable[[str], None] = ...) -> Runner: ...


@pytest.fixture
def new_runner(tmp_path: Path) -> Iterator[StartRunner]:
    runners: list[Runner] = []

    def make(on_restart: Callable[[str], None] = lambda _name: None) -> Runner:
        runners.append(Runner(f"test-{uuid.uuid4()}", tmp_path / "logs", on_restart=on_restart))
        return runners[-1]

    yield make
    for runner in runners:
        runner.stop()


def ask(url: str, statement: str) -> Any:
    async def query() -> Any:
        connection = await asyncpg.connect(url)
        try:
            return await connection.fetchval(statement)
        finally:
            await connection.close()

    return run_sync(query())


@pytest.mark.parametrize("identity", IDENTITIES.values(), ids=IDENTITIES.keys())
def test_what_was_committed_survives_sigkill_of_the_server(
    identity: Identity, new_runner: StartRunner, tmp_path: Path
) -> None:
    restarted: list[str] = []
    runner, postgres = new_runner(restarted.append), EmbeddedPostgres(tmp_path / "data", identity=identity)
    runner.start(postgres.role())
    ask(postgres.url, "CREATE TABLE kept AS SELECT 42 AS answer")
    os.kill(runner.pids()["postgres"][0], signal.SIGKILL)

    def healed() -> bool:
        runner.heal()
        return restarted == ["postgres"]

    eventually(healed)
    assert ask(postgres.url, "SELECT answer FROM kept") == 42


def test_what_was_committed_survives_sigkill_of_the_parent_and_a_start_right_after_it(tmp_path: Path) -> None:
    run_id = f"test-{uuid.uuid4()}"
    with embedded_parent.parent(tmp_path / "data", run_id, ["postgres"]) as parent:
        ask(parent.urls["postgres"], "CREATE TABLE kept AS SELECT 42 AS answer")
        parent.process.kill()
    with embedded_parent.parent(tmp_path / "data", run_id, ["postgres"]) as parent:
        assert ask(parent.urls["postgres"], "SELECT answer FROM kept") == 42
    assert eventually(lambda: processes_of_run(run_id) == [])


@pytest.mark.parametrize("identity", IDENTITIES.values(), ids=IDENTITIES.keys())
def test_a_cluster_made_under_one_identity_is_usable_under_the_next(
    identity: Identity, new_runner: StartRunner, tmp_path: Path
) -> None:
    for name in (*IDENTITIES.values(), identity):
        runner, postgres = new_runner(), EmbeddedPostgres(tmp_path / "data", fast=True, identity=name)
        runner.start(postgres.role())
        ask(postgres.url, "CREATE TABLE IF NOT EXISTS kept (id int)")
        runner.stop()
        assert postgres.cluster_dir.stat().st_uid == name.owner_uid


def test_a_pid_file_that_names_a_living_stranger_does_not_block_the_start(
    new_runner: StartRunner, tmp_path: Path
) -> None:
    runner, postgres = new_runner(), EmbeddedPostgres(tmp_path / "data")
    runner.start(postgres.role())
    left_behind = (postgres.cluster_dir / "postmaster.pid").read_text().splitlines()
    runner.stop()
    pid_file = postgres.cluster_dir / "postmaster.pid"
    pid_file.write_text("\n".join([str(os.getpid()), *left_behind[1:]]) + "\n")
    shutil.chown(pid_file, postgres.cluster_dir.stat().st_uid)
    runner.start(postgres.role())
    assert ask(postgres.url, "SELECT 1") == 1


def test_a_cluster_in_use_is_not_started_a_second_time(new_runner: StartRunner, tmp_path: Path) -> None:
    first, second = EmbeddedPostgres(tmp_path / "data"), EmbeddedPostgres(tmp_path / "data")
    new_runner().start(first.role())
    with pytest.raises(StartFailed, match="still in use by process"):
        new_runner().start(dataclasses.replace(second.role(), start_timeout_s=0.2))
    assert ask(first.url, "SELECT 1") == 1
    assert ask(first.socket_url, "SELECT 1") == 1


def test_an_interrupted_first_start_is_begun_anew(new_runner: StartRunner, tmp_path: Path) -> None:
    postgres = EmbeddedPostgres(tmp_path / "data")
    half_made = tmp_path / "data" / "postgres.partial"
    half_made.mkdir()
    (half_made / "PG_VERSION").write_text("18\n")
    new_runner().start(postgres.role())
    assert ask(postgres.url, "SELECT current_database()") == "zmart"
    assert not half_made.exists()


def test_a_cluster_of_another_major_version_is_refused_by_name(new_runner: StartRunner, tmp_path: Path) -> None:
    runner, postgres = new_runner(), EmbeddedPostgres(tmp_path / "data")
    runner.start(postgres.role())
    runner.stop()
    (postgres.cluster_dir / "PG_VERSION").write_text("17\n")
    with pytest.raises(DataDirectoryUnusable, match="PostgreSQL 17"):
        runner.start(postgres.role())


@pytest.mark.parametrize("folder", ["short", "long-" + 60 * "x"])
def test_the_unix_socket_works_whatever_the_length_of_the_path_and_goes_with_the_server(
    folder: str, new_runner: StartRunner, tmp_path: Path
) -> None:
    runner, postgres = new_runner(), EmbeddedPostgres(tmp_path / folder)
    runner.start(postgres.role())
    assert ask(postgres.socket_url, "SELECT inet_server_addr()") is None
    assert postgres.socket_dir.stat().st_mode & 0o077 == 0
    runner.stop()
    assert not postgres.socket_dir.exists()


def test_nobody_enters_without_the_password(new_runner: StartRunner, tmp_path: Path) -> None:
    postgres = EmbeddedPostgres(tmp_path / "data")
    new_runner().start(postgres.role())
    for url in (postgres.url, postgres.socket_url):
        with pytest.raises(asyncpg.InvalidPasswordError):
            ask(url.replace(":" + postgres._password, ":wrong"), "SELECT 1")
    assert (tmp_path / "data" / "postgres.password").stat().st_mode & 0o777 == 0o600


def test_commits_are_durable_unless_a_test_asks_for_speed(new_runner: StartRunner, tmp_path: Path) -> None:
    for name, fast, expected in (("durable", False, "on"), ("fast", True, "off")):
        postgres = EmbeddedPostgres(tmp_path / name, fast=fast)
        new_runner().start(postgres.role())
        for setting in ("fsync", "synchronous_commit", "full_page_writes"):
            assert ask(postgres.url, f"SHOW {setting}") == expected
        assert ask(postgres.url, "SHOW wal_segment_size") == f"{WAL_SEGMENT_MB}MB"


def test_a_client_that_holds_a_transaction_open_does_not_keep_the_server_from_stopping(
    new_runner: StartRunner, tmp_path: Path
) -> None:
    runner, postgres = new_runner(), EmbeddedPostgres(tmp_path / "data")
    runner.start(postgres.role())

    async def hold_while_stopping() -> None:
        connection = await asyncpg.connect(postgres.url)
        transaction = connection.transaction()
        await transaction.start()
        runner.stop()
        with pytest.raises((asyncpg.PostgresError, asyncpg.InterfaceError, OSError)):
            await connection.execute("SELECT 1")

    run_sync(hold_while_stopping())
    assert eventually(lambda: processes_of_run(runner.run_id) == [])


@pytest.mark.parametrize("candidates", [(), (Identity(("no-such-program",), 0),), (Identity(("false",), 0),)])
def test_without_any_other_identity_root_is_told_what_to_do(
    candidates: tuple[Identity, ...], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    with pytest.raises(NoUnprivilegedIdentity, match="ZMART_DATABASE_URL"):
        unprivileged(binary("postgres"), tmp_path, candidates)


def test_a_uid_without_a_name_runs_postgres_under_another(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 2_000_000_000)
    somebody = Identity(("env",), 0)
    assert unprivileged(binary("postgres"), tmp_path, (somebody,)) == somebody


def test_an_ordinary_user_runs_postgres_as_they_are(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1)
    assert unprivileged(binary("postgres"), tmp_path) == Identity((), 1)
