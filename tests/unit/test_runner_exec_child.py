"""The exec wrapper: same pid, clean signals, and death with the parent."""

import os
import signal
import subprocess
import sys
import threading
import uuid

import pytest

from app.exec_child import ORPHANED_EXIT_STATUS, NotMainThread, guarded
from app.runner import RUN_ID_VARIABLE
from tests.support.eventually import eventually
from tests.support.processes import processes_of_run

PARENT = """
import signal, subprocess, sys
from app.exec_child import guarded
child = subprocess.Popen(guarded(["sleep", "600"], signal.Signals(int(sys.argv[1]))), start_new_session=True)
print(child.pid, flush=True)
signal.pause()
"""


def test_the_command_runs_under_the_pid_of_the_wrapper() -> None:
    with subprocess.Popen(guarded(["sh", "-c", "echo $$"], signal.SIGKILL), stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        assert int(child.stdout.read()) == child.pid


def test_the_command_does_not_inherit_the_signals_that_python_ignores() -> None:
    argv = guarded(["grep", "SigIgn", "/proc/self/status"], signal.SIGKILL)
    ignored = int(subprocess.run(argv, capture_output=True, text=True, check=True).stdout.split()[1], 16)
    assert not ignored & (1 << (signal.SIGPIPE - 1) | 1 << (signal.SIGXFSZ - 1))


def test_a_command_whose_parent_is_already_gone_is_never_started() -> None:
    argv = guarded(["echo", "started"], signal.SIGKILL)
    stranger = [*argv[:4], str(os.getppid()), *argv[5:]]
    done = subprocess.run(stranger, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (ORPHANED_EXIT_STATUS, "")


@pytest.mark.parametrize("death_signal", [signal.SIGKILL, signal.SIGTERM])
def test_the_command_dies_when_its_parent_is_killed(death_signal: signal.Signals) -> None:
    run_id = f"test-{uuid.uuid4()}"
    environment = {**os.environ, RUN_ID_VARIABLE: run_id, "PYTHONPATH": os.pathsep.join(sys.path)}
    argv = [sys.executable, "-c", PARENT, str(int(death_signal))]
    with subprocess.Popen(argv, env=environment, stdout=subprocess.PIPE) as parent:
        try:
            assert parent.stdout is not None
            child_pid = int(parent.stdout.readline())
            eventually(lambda: set(processes_of_run(run_id)) == {parent.pid, child_pid})
        finally:
            parent.kill()
    assert eventually(lambda: processes_of_run(run_id) == [])


def test_another_thread_may_not_start_children() -> None:
    refusals: list[NotMainThread] = []

    def start() -> None:
        try:
            guarded(["true"], signal.SIGKILL)
        except NotMainThread as refusal:
            refusals.append(refusal)

    thread = threading.Thread(target=start, name="pool-7")
    thread.start()
    thread.join()
    assert "pool-7" in str(refusals[0])
