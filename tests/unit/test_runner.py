"""The runner over real processes: start, readiness, healing, order of stopping, bounds."""

import dataclasses
import os
import signal
import sys
import threading
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from app.runner import Backoff, NotReady, Role, RoleEnded, Runner, StartAborted, StartFailed
from tests.support.eventually import eventually
from tests.support.processes import processes_of_run

FOREVER = "import signal; signal.pause()"
DEAF = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); "


def python(code: str) -> list[str]:
    return [sys.executable, "-I", "-S", "-c", code]


def on_signal(name: str, action: str, mark: Path) -> str:
    """Code that makes `mark` once it would do `action` on the signal."""
    handler = f"import signal, sys; signal.signal(signal.{name}, lambda *_: ({action}))"
    return f"{handler}; open({str(mark)!r}, 'w').close(); signal.pause()"


def exists(path: Path) -> Callable[[], None]:
    def ready() -> None:
        if not path.exists():
            raise NotReady(f"{path.name} is not there")

    return ready


def healing(runner: Runner, fact: Callable[[], object]) -> Callable[[], object]:
    """A predicate for `eventually` that lets the runner heal before each look at the fact."""

    def look() -> object:
        runner.heal()
        return fact()

    return look


@pytest.fixture
def restarted() -> list[str]:
    return []


@pytest.fixture
def runner(tmp_path: Path, restarted: list[str]) -> Iterator[Runner]:
    runner = Runner(f"test-{uuid.uuid4()}", tmp_path / "logs", on_restart=restarted.append)
    yield runner
    runner.stop()


def touching(tmp_path: Path, name: str, then: str = FOREVER) -> Role:
    """A role that makes the file it is known to be ready by, then does `then`."""
    mark = tmp_path / f"{name}.ready"
    return Role(name, python(f"open({str(mark)!r}, 'w').close(); {then}"), ready=exists(mark))


def test_start_returns_once_the_role_is_ready(runner: Runner, tmp_path: Path) -> None:
    runner.start(touching(tmp_path, "one"))
    assert (tmp_path / "one.ready").exists()
    assert processes_of_run(runner.run_id) == runner.pids()["one"]


def test_the_environment_of_a_role_reaches_it_with_the_run_id(runner: Runner, tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    code = f"import os; open({str(mark)!r}, 'w').write(os.environ['COLOUR'] + os.environ['ZMART_RUN_ID']); {FOREVER}"
    runner.start(Role("one", python(code), ready=exists(mark), env={"COLOUR": "red "}))
    assert eventually(mark.read_text) == f"red {runner.run_id}"


def test_a_role_that_never_becomes_ready_fails_with_its_reason_and_log_and_is_gone(tmp_path: Path) -> None:
    log, now_s = tmp_path / "logs" / "slow.log", 0.0
    runner = Runner(f"test-{uuid.uuid4()}", tmp_path / "logs", clock=lambda: now_s)

    def never() -> None:
        nonlocal now_s
        eventually(lambda: log.read_text() == "warming up\n")
        now_s += 60.0
        raise NotReady("no answer")

    role = Role("slow", python(f"print('warming up', flush=True); {FOREVER}"), ready=never, start_timeout_s=60.0)
    with pytest.raises(StartFailed, match="no answer") as failure:
        runner.start(role)
    assert failure.value.log_tail == "warming up"
    assert processes_of_run(runner.run_id) == []
    assert runner.pids() == {}


def test_a_role_that_dies_before_it_is_ready_fails_at_once_with_its_last_words(runner: Runner, tmp_path: Path) -> None:
    role = Role("broken", python("raise SystemExit('no such setting')"), ready=exists(tmp_path / "never"))
    with pytest.raises(StartFailed, match="exited with status 1") as failure:
        runner.start(role)
    assert failure.value.log_tail == "no such setting"


def test_a_stranger_answering_the_probe_does_not_make_a_dead_role_ready(runner: Runner, tmp_path: Path) -> None:
    gone = tmp_path / "gone"
    code = f"open({str(gone)!r}, 'w').close()"
    with pytest.raises(StartFailed, match="exited with status 0"):
        runner.start(Role("dead", python(code), ready=lambda: _answered_by_a_stranger(gone, runner.run_id)))


def _answered_by_a_stranger(gone: Path, run_id: str) -> None:
    eventually(gone.exists)
    eventually(lambda: processes_of_run(run_id) == [])


def test_a_start_that_is_told_to_stop_goes_no_further(tmp_path: Path) -> None:
    told = threading.Event()
    runner = Runner(f"test-{uuid.uuid4()}", tmp_path / "logs", aborting=told)

    def never() -> None:
        told.set()
        raise NotReady("and never will be")

    with pytest.raises(StartAborted):
        runner.start(Role("slow", python(FOREVER), ready=never))
    assert processes_of_run(runner.run_id) == []
    with pytest.raises(StartAborted):
        runner.start(Role("next", python(FOREVER), ready=lambda: None))
    assert runner.pids() == {}


def test_a_bug_in_a_probe_stops_the_role_and_is_not_hidden(runner: Runner) -> None:
    def buggy() -> None:
        raise KeyError("oops")

    with pytest.raises(KeyError):
        runner.start(Role("one", python(FOREVER), ready=buggy))
    assert processes_of_run(runner.run_id) == []


def test_a_prepare_that_is_not_ready_is_asked_again(runner: Runner, tmp_path: Path) -> None:
    asked: list[str] = []

    def prepare(env: object) -> None:
        asked.append("again")
        if len(asked) < 3:
            raise NotReady("the folder is in use")

    runner.start(dataclasses.replace(touching(tmp_path, "one"), prepare=prepare))
    assert len(asked) == 3


def test_a_name_is_started_once(runner: Runner, tmp_path: Path) -> None:
    runner.start(touching(tmp_path, "one"))
    with pytest.raises(ValueError, match="one"):
        runner.start(touching(tmp_path, "one"))


def test_a_killed_role_is_restarted_under_a_new_pid_and_reported(
    runner: Runner, tmp_path: Path, restarted: list[str]
) -> None:
    runner.start(touching(tmp_path, "one"))
    [before] = runner.pids()["one"]
    os.kill(before, signal.SIGKILL)
    eventually(healing(runner, lambda: restarted))
    [after] = runner.pids()["one"]
    assert restarted == ["one"]
    assert after != before
    assert eventually(lambda: processes_of_run(runner.run_id) == [after]), "a process that just executes shows nothing"


def test_every_loss_of_a_role_that_will_be_restarted_is_reported(tmp_path: Path) -> None:
    lost: list[str] = []
    runner = Runner(f"test-{uuid.uuid4()}", tmp_path / "logs", on_loss=lost.append)
    runner.start(touching(tmp_path, "one"))
    try:
        for _ in range(2):
            assert eventually(healing(runner, lambda: runner.pids()["one"]))
            before = list(lost)
            os.kill(runner.pids()["one"][0], signal.SIGKILL)
            assert eventually(healing(runner, lambda before=before: lost != before))  # type: ignore[misc]
    finally:
        runner.stop()
    assert lost == ["one", "one"]


def test_a_role_waiting_for_its_restart_has_no_pids(runner: Runner, tmp_path: Path) -> None:
    runner.start(touching(tmp_path, "one"))
    os.kill(runner.pids()["one"][0], signal.SIGKILL)
    assert eventually(lambda: runner.pids() == {"one": []})


def test_a_role_that_keeps_crashing_does_not_keep_another_from_healing(
    runner: Runner, tmp_path: Path, restarted: list[str]
) -> None:
    mark = tmp_path / "mark"
    code = f"import os; p = {str(mark)!r}; again = os.path.exists(p); open(p, 'w').close(); again or exec({FOREVER!r})"
    runner.start(Role("crashing", python(code), ready=exists(mark)))
    os.kill(runner.pids()["crashing"][0], signal.SIGKILL)
    runner.start(touching(tmp_path, "steady"))
    os.kill(runner.pids()["steady"][0], signal.SIGKILL)
    eventually(healing(runner, lambda: "steady" in restarted))


def test_what_a_dead_role_left_in_its_group_is_ended_before_the_restart(runner: Runner, tmp_path: Path) -> None:
    code = f"import os; os.fork(); {FOREVER}"
    runner.start(touching(tmp_path, "forking", then=code))
    eventually(lambda: len(processes_of_run(runner.run_id)) == 2)
    [leader] = runner.pids()["forking"]
    [left_over] = set(processes_of_run(runner.run_id)) - {leader}
    os.kill(leader, signal.SIGKILL)
    eventually(healing(runner, lambda: left_over not in processes_of_run(runner.run_id)))


def test_watch_heals_until_it_is_told_to_stop(tmp_path: Path) -> None:
    stop = threading.Event()
    runner = Runner(f"test-{uuid.uuid4()}", tmp_path / "logs", on_restart=lambda _name: stop.set())
    runner.start(touching(tmp_path, "one"))
    [before] = runner.pids()["one"]
    os.kill(before, signal.SIGKILL)
    runner.watch(stop)
    [after] = runner.pids()["one"]
    runner.stop()
    assert after != before


def test_watch_ends_when_a_role_that_may_not_be_restarted_ends(runner: Runner, tmp_path: Path) -> None:
    runner.start(dataclasses.replace(touching(tmp_path, "once"), restart=False))
    os.kill(runner.pids()["once"][0], signal.SIGKILL)
    with pytest.raises(RoleEnded) as ended:
        runner.watch(threading.Event())
    assert ended.value.exit_status == -signal.SIGKILL


def test_roles_stop_in_reverse_order_and_are_cleaned_up(runner: Runner, tmp_path: Path) -> None:
    journal = tmp_path / "journal"
    marks = [tmp_path / name for name in ("first", "second", "third")]
    for mark in marks:
        code = on_signal("SIGTERM", f"open({str(journal)!r}, 'a').write('{mark.name} '), sys.exit()", mark)
        runner.start(Role(mark.name, python(code), ready=exists(mark), cleanup=mark.unlink))
    runner.stop()
    assert journal.read_text() == "third second first "
    assert not any(mark.exists() for mark in marks)
    assert processes_of_run(runner.run_id) == []


def test_a_role_deaf_to_the_stop_signal_gets_the_next_one(runner: Runner, tmp_path: Path) -> None:
    mark, heard = tmp_path / "mark", tmp_path / "heard"
    code = on_signal("SIGQUIT", f"open({str(heard)!r}, 'w').close(), sys.exit()", mark)
    role = Role("deaf", python(DEAF + code), ready=exists(mark), stop_timeout_s=0.1, abort_signal=signal.SIGQUIT)
    runner.start(role)
    runner.stop()
    assert heard.exists()


def test_a_role_deaf_to_every_signal_is_killed(runner: Runner, tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    code = f"{DEAF}open({str(mark)!r}, 'w').close(); {FOREVER}"
    runner.start(Role("deaf", python(code), ready=exists(mark), stop_timeout_s=0.1))
    runner.stop()
    assert processes_of_run(runner.run_id) == []


def test_one_failing_cleanup_does_not_leave_the_others_running(runner: Runner, tmp_path: Path) -> None:
    runner.start(touching(tmp_path, "first"))
    runner.start(dataclasses.replace(touching(tmp_path, "second"), cleanup=(tmp_path / "absent").unlink))
    with pytest.raises(ExceptionGroup) as errors:
        runner.stop()
    assert errors.group_contains(FileNotFoundError)
    assert processes_of_run(runner.run_id) == []


def test_a_role_is_not_started_outside_the_main_thread(runner: Runner, tmp_path: Path) -> None:
    errors: list[Exception] = []

    def start() -> None:
        try:
            runner.start(touching(tmp_path, "one"))
        except RuntimeError as error:
            errors.append(error)

    thread = threading.Thread(target=start, name="wrong-place")
    thread.start()
    thread.join()
    assert "wrong-place" in str(errors)


def test_the_backoff_doubles_to_two_seconds_and_is_forgotten_after_ten_stable_ones() -> None:
    backoff = Backoff()
    assert [backoff.take_s() for _ in range(8)] == [0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.0, 2.0]
    backoff.observe_uptime(9.9)
    assert backoff.take_s() == 2.0
    backoff.observe_uptime(10.0)
    assert backoff.take_s() == 0.04
