"""Starts the processes of `zmart up` in order, heals them, and stops them in reverse.

Guarantee: every child carries ZMART_RUN_ID, leads its own session (a Ctrl-C reaches only `zmart up`, which then drains
in order), and dies with this process even when that is SIGKILLed (see exec_child). Main thread only, one Runner a run.
"""

import logging
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from app.exec_child import guarded
from app.role_log import RoleLog

RUN_ID_VARIABLE = "ZMART_RUN_ID"
TICK_S = 0.04
BACKOFF_FIRST_S = 0.04
BACKOFF_MAX_S = 2.0
STABLE_AFTER_S = 10.0
ABORT_TIMEOUT_S = 6.0
KILL_TIMEOUT_S = 5.0

log = logging.getLogger(__name__)


class NotReady(Exception):
    """A probe's answer: not yet, and why."""


class StartFailed(Exception):
    """A role did not become ready; carries the reason and the last lines of its log."""

    def __init__(self, role_name: str, reason: str, log_tail: str) -> None:
        super().__init__(f"{role_name} did not start: {reason}\n{log_tail}".rstrip())
        self.role_name, self.reason, self.log_tail = role_name, reason, log_tail


class StartAborted(Exception):
    """The run was told to stop before everything had started."""


class RoleEnded(Exception):
    """A role that is not to be restarted has ended."""

    def __init__(self, role_name: str, exit_status: int, log_tail: str) -> None:
        super().__init__(f"{role_name} ended with status {exit_status}\n{log_tail}".rstrip())
        self.role_name, self.exit_status, self.log_tail = role_name, exit_status, log_tail


@dataclass(frozen=True)
class Role:
    """One child process: how to start it, how to know that it is ready, how to stop it.

    `ready` returns when the role answers and raises NotReady or OSError until then; any other exception is a bug and
    leaves the runner. `prepare` runs before every start, restarts included, with the child's environment, and raises
    NotReady to be asked again. `prefix` changes identity and execs (see exec_child). `cleanup` runs
    once, at the end, and only if a process was started: what another run is using is not ours to remove.
    A stop is `stop_signal`, then after `stop_timeout_s` the `abort_signal` if there is one, then SIGKILL.
    """

    name: str
    argv: Sequence[str]
    ready: Callable[[], None]
    env: Mapping[str, str] = field(default_factory=dict)
    prefix: Sequence[str] = ()
    prepare: Callable[[Mapping[str, str]], None] = lambda _env: None
    cleanup: Callable[[], None] = lambda: None
    restart: bool = True
    start_timeout_s: float = 60.0
    stop_signal: signal.Signals = signal.SIGTERM
    stop_timeout_s: float = 10.0
    abort_signal: signal.Signals | None = None
    death_signal: signal.Signals = signal.SIGKILL


class Backoff:
    """The wait before the next restart: 40 ms, doubling to 2 s, forgotten after 10 stable seconds."""

    def __init__(self) -> None:
        self._next_s = BACKOFF_FIRST_S

    def take_s(self) -> float:
        """The wait for this failure."""
        current_s, self._next_s = self._next_s, min(self._next_s * 2, BACKOFF_MAX_S)
        return current_s

    def observe_uptime(self, ready_for_s: float) -> None:
        """Start again from 40 ms once the role has been ready for long enough."""
        if ready_for_s >= STABLE_AFTER_S:
            self._next_s = BACKOFF_FIRST_S


class _Child:
    """A role and its current process, if it has one."""

    def __init__(self, role: Role, log_file: RoleLog, env: Mapping[str, str]) -> None:
        self.role, self.log_file, self.env = role, log_file, env
        self.backoff = Backoff()
        self.process: subprocess.Popen[bytes] | None = None
        self.started_at = 0.0
        self.ready_at: float | None = None
        self.restart_at: float | None = None

    def spawn(self, now: float) -> None:
        self.role.prepare(self.env)
        output = self.log_file.open()
        try:
            self.process = subprocess.Popen(
                guarded(self.role.argv, self.role.death_signal, self.role.prefix),
                env=dict(self.env),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        finally:
            os.close(output)
        self.started_at, self.ready_at, self.restart_at = now, None, None

    def alive(self) -> bool:
        """Whether the process runs; the first False also ends whatever it left in its process group.

        The dead leader is looked at without being reaped, so that its pid cannot name a stranger's group meanwhile.
        """
        if self.process is None or self.process.returncode is not None:
            return False
        if os.waitid(os.P_PID, self.process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
            return True
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        return False

    def ends_within(self, timeout_s: float) -> bool:
        deadline = time.monotonic() + timeout_s
        while self.alive():
            if time.monotonic() >= deadline:
                return False
            time.sleep(TICK_S / 4)
        return True

    def stop(self) -> None:
        """Stop the process by the role's steps; returns with it gone."""
        role = self.role
        steps = [(role.stop_signal, role.stop_timeout_s), (signal.SIGKILL, KILL_TIMEOUT_S)]
        if role.abort_signal is not None:
            steps.insert(1, (role.abort_signal, ABORT_TIMEOUT_S))
        for step, timeout_s in steps:
            if not self.alive():
                return
            assert self.process is not None
            os.kill(self.process.pid, step)
            if self.ends_within(timeout_s):
                return
            log.warning("%s outlived %s by %.1f s", role.name, step.name, timeout_s)
        raise TimeoutError(f"{role.name} outlived SIGKILL by {KILL_TIMEOUT_S} s")

    def clean_up(self) -> None:
        """Remove what the role made for its process, if it had one."""
        if self.process is not None:
            self.role.cleanup()

    def pids(self) -> list[int]:
        return [self.process.pid] if self.process is not None and self.alive() else []

    @property
    def exit_status(self) -> int:
        """The status of the ended process, negative for a signal."""
        assert self.process is not None and self.process.returncode is not None
        return self.process.returncode


class Runner:
    """The processes of one run, in the order they were started."""

    def __init__(
        self,
        run_id: str,
        logs_dir: Path,
        on_restart: Callable[[str], None] = lambda _role_name: None,
        clock: Callable[[], float] = time.monotonic,
        aborting: threading.Event | None = None,
        on_loss: Callable[[str], None] = lambda _role_name: None,
    ) -> None:
        """`on_restart(role_name)` is called from watch() when a restarted role is ready again (its pid is new).

        `on_loss(role_name)` is called from watch() when a role's process has ended and will be started again.
        Once `aborting` is set, no start goes on.
        """
        self.run_id = run_id
        self._logs_dir = logs_dir
        self._on_restart = on_restart
        self._on_loss = on_loss
        self._clock = clock
        self._aborting = aborting or threading.Event()
        self._children: dict[str, _Child] = {}
        self._looks = 0

    def start(self, role: Role) -> None:
        """Start a role and return when it is ready; raises StartFailed or StartAborted, with the role stopped."""
        if role.name in self._children:
            raise ValueError(f"role {role.name} was started twice")
        env = {**os.environ, **role.env, RUN_ID_VARIABLE: self.run_id}
        child = _Child(role, RoleLog(self._logs_dir, role.name), env)
        self._children[role.name] = child
        try:
            self._bring_up(child)
        except BaseException:
            del self._children[role.name]
            child.stop()
            child.clean_up()
            raise

    def watch(self, stop: threading.Event) -> None:
        """Heal until `stop` is set; raises RoleEnded when a role with restart=False ends."""
        while not stop.wait(TICK_S):
            self.heal()

    def heal(self) -> None:
        """One look at every child: restart what died and is due, notice what is ready again, bound the logs."""
        for child in self._children.values():
            if child.alive():
                self._attend(child)
            else:
                self._revive(child)
        self._trim_next()

    def _trim_next(self) -> None:
        """Bound one log a look: all of them within half a second, for a thirteenth of the calls of the kernel."""
        children = list(self._children.values())
        self._looks += 1
        if children:
            children[self._looks % len(children)].log_file.trim()

    def stop(self) -> None:
        """Stop everything in reverse order, each within its own bound; what fails does not keep the rest running."""
        errors: list[Exception] = []
        while self._children:
            _, child = self._children.popitem()
            for step in (child.stop, child.clean_up):
                try:
                    step()
                except Exception as error:
                    errors.append(error)
        if errors:
            raise ExceptionGroup("not everything stopped", errors)

    def pids(self) -> dict[str, list[int]]:
        """The live main process of each role; an empty list while a role waits for its restart."""
        return {name: child.pids() for name, child in self._children.items()}

    def _bring_up(self, child: _Child) -> None:
        deadline = self._clock() + child.role.start_timeout_s
        while True:
            if self._aborting.is_set():
                raise StartAborted
            reason = self._advance(child)
            if child.process is not None and not child.alive():
                raise StartFailed(child.role.name, f"exited with status {child.exit_status}", child.log_file.tail())
            if reason is None:
                return
            if self._clock() >= deadline:
                raise StartFailed(child.role.name, reason, child.log_file.tail())
            time.sleep(TICK_S / 2)

    def _advance(self, child: _Child) -> str | None:
        """One step towards ready; None when ready, else what is missing."""
        try:
            if child.process is None:
                child.spawn(self._clock())
        except NotReady as not_yet:
            return str(not_yet)
        try:
            child.role.ready()
        except (NotReady, OSError) as not_yet:
            return f"{type(not_yet).__name__}: {not_yet}"
        child.ready_at = self._clock()
        return None

    def _attend(self, child: _Child) -> None:
        now = self._clock()
        if child.ready_at is not None:
            child.backoff.observe_uptime(now - child.ready_at)
        elif (reason := self._advance(child)) is None:
            self._on_restart(child.role.name)
        elif now - child.started_at > child.role.start_timeout_s:
            log.error("%s is not ready after its restart (%s), stopping it", child.role.name, reason)
            child.stop()

    def _revive(self, child: _Child) -> None:
        now = self._clock()
        if child.restart_at is None:
            self._mourn(child, now)
        elif now >= child.restart_at:
            try:
                child.spawn(now)
            except (NotReady, OSError) as error:
                log.warning("%s cannot be restarted yet: %s", child.role.name, error)
                child.restart_at = now + child.backoff.take_s()

    def _mourn(self, child: _Child, now: float) -> None:
        name, status = child.role.name, child.exit_status
        if not child.role.restart:
            raise RoleEnded(name, status, child.log_file.tail())
        wait_s = child.backoff.take_s()
        log.error("%s ended with status %d, restarting in %.2f s", name, status, wait_s)
        child.restart_at = now + wait_s
        self._on_loss(name)
