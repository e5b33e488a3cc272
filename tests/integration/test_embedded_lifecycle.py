"""What holds for every embedded part: it starts, answers, stops, and outlives nobody."""

import os
import socket
import subprocess
import uuid
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from app.embedded.loopback import run_probe
from app.embedded.unprivileged import OTHER_USER
from app.runner import NotReady, Runner
from tests.support import embedded_parent
from tests.support.eventually import eventually
from tests.support.processes import alive, family_of, processes_of_run

# As root, every part is tried as an ordinary user too: uid 65534, who may pass through a private home of root's on the
# way to the interpreter, but is not root to PostgreSQL or to the kernel's rules for signals.
USERS = {"as-we-are": (), "as-an-ordinary-user": OTHER_USER.prefix} if os.geteuid() == 0 else {"as-we-are": ()}


@pytest.fixture(params=sorted(embedded_parent.PARTS))
def part(request: pytest.FixtureRequest, tmp_path: Path) -> embedded_parent.Part:
    return embedded_parent.PARTS[request.param](tmp_path / "data")


@pytest.fixture
def runner(tmp_path: Path) -> Runner:
    return Runner(f"test-{uuid.uuid4()}", tmp_path / "logs")


def test_a_part_answers_once_started_and_leaves_no_process_and_no_port_once_stopped(
    part: embedded_parent.Part, runner: Runner
) -> None:
    with pytest.raises((NotReady, OSError)):
        run_probe(part.health)
    runner.start(part.role())
    run_probe(part.health)
    [pid] = runner.pids()[part.role().name]
    family = family_of(pid)
    assert pid in processes_of_run(runner.run_id)
    runner.stop()
    assert processes_of_run(runner.run_id) == []
    assert eventually(lambda: alive(family) == [])
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", urlsplit(part.url).port or 0)).close()


def test_a_part_listens_on_the_loopback_only(part: embedded_parent.Part, runner: Runner) -> None:
    runner.start(part.role())
    listening = subprocess.run(["cat", "/proc/net/tcp", "/proc/net/tcp6"], capture_output=True, text=True, check=True)
    runner.stop()
    port = f":{urlsplit(part.url).port:04X}"
    addresses = [line.split()[1] for line in listening.stdout.splitlines() if port in line.split()[1]]
    assert set(addresses) == {f"0100007F{port}"}


def test_a_part_can_be_started_again_on_what_it_left(part: embedded_parent.Part, runner: Runner) -> None:
    for _ in range(2):
        runner.start(part.role())
        run_probe(part.health)
        runner.stop()
    assert eventually(lambda: processes_of_run(runner.run_id) == [])


@pytest.mark.parametrize("prefix", USERS.values(), ids=USERS.keys())
def test_no_process_outlives_a_parent_that_is_killed(prefix: tuple[str, ...], tmp_path: Path) -> None:
    run_id = f"test-{uuid.uuid4()}"
    tmp_path.chmod(0o777)
    with embedded_parent.parent(tmp_path / "data", run_id, sorted(embedded_parent.PARTS), prefix) as parent:
        started = {parent.process.pid, *(pid for pids in parent.pids.values() for pid in pids)}
        assert started <= set(processes_of_run(run_id))
        assert len(started) == 1 + len(embedded_parent.PARTS)
        family = family_of(parent.process.pid)
        assert len(family) > len(started)
        parent.process.kill()
    assert eventually(lambda: processes_of_run(run_id) == [] and alive(family) == [])
