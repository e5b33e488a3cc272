"""The launcher: the only process that may start a Thespian admin, and it does nothing else.

Everything forks from whoever calls `ActorSystem` first, so this process has no threads, no sockets and no secrets but
the actors' own. It restarts the admin or the NodeSupervisor when one dies; children die with their parent.
"""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import structlog
from thespian.actors import ActorSystem

from actors import hardening
from actors.messages import Drain, Drained, NodeStarted, StartNode
from actors.supervisor import GLOBAL_NAME, NodeSupervisor

LOOK_S = 0.05
"""Between two looks at the two pids; one costs 0.1 ms of CPU, and a new tree takes a second."""
START_S_MAX = 10.0
DRAIN_S_MAX = 5.0
SHUTDOWN_S_MAX = 5.0
RETRY_S_FIRST = 0.05
RETRY_S_MAX = 2.0

THESPIAN_LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "handlers": {"stderr": {"class": "logging.StreamHandler"}},
    "root": {"level": "ERROR", "handlers": ["stderr"]},
}
"""What stdlib logging inside the tree comes to; our own lines go straight to stderr, past Thespian's logger process."""

log = structlog.get_logger("launcher")


class TreeNotStarted(Exception):
    """The admin or NodeSupervisor did not answer in time."""


@dataclass(slots=True)
class _Tree:
    """The running actor system: this process's context and the two pids it watches."""

    system: Any
    supervisor: Any
    admin_pid: int
    supervisor_pid: int


class Launcher:
    """Keeps one actor tree alive until told to stop. Call `hardening.harden` before you make one."""

    def __init__(self, admin_port: int, node: StartNode, on_started: Callable[[dict[str, int]], None]) -> None:
        self._admin_port = admin_port
        self._node = node
        self._on_started = on_started
        self._stopping = threading.Event()

    def stop(self, *_: Any) -> None:
        """Ask `run` to drain and return; fit for a signal handler."""
        self._stopping.set()

    def run(self) -> None:
        """Start the tree, heal it, and drain it at the end."""
        tree: _Tree | None = None
        failures = 0
        while not self._stopping.is_set():
            try:
                tree = self._start()
                failures = 0
                self._watch(tree)
            except Exception as failure:
                failures += 1
                log.error("actor tree lost", error=str(failure), failures=failures)
            if not self._stopping.is_set():
                self._clear(tree)
                tree = None
                self._stopping.wait(min(RETRY_S_FIRST * 2 ** min(failures, 10), RETRY_S_MAX) if failures else 0)
        if tree is not None:
            self._drain(tree)
            self._clear(tree)

    def _start(self) -> _Tree:
        capabilities = {"Admin Port": self._admin_port}
        system = ActorSystem("multiprocTCPBase", capabilities, THESPIAN_LOGGING, transientUnique=True)
        admin_pid = hardening.admin_pid()
        assert admin_pid is not None, "the admin is this process's child"
        supervisor = system.createActor(NodeSupervisor, globalName=GLOBAL_NAME)
        started = self._ask_until(system, supervisor, self._node, NodeStarted, START_S_MAX)
        log.info("actor tree started", admin=admin_pid, supervisor=started.pid, port=self._admin_port)
        self._on_started({"admin": admin_pid, "supervisor": started.pid})
        return _Tree(system, supervisor, admin_pid, started.pid)

    def _watch(self, tree: _Tree) -> None:
        """Return when the tree has to be built anew or the launcher stops."""
        while not self._stopping.wait(LOOK_S):
            if _ended(tree.admin_pid):
                log.error("admin died", pid=tree.admin_pid)
                return
            if not _exists(tree.supervisor_pid):
                log.error("supervisor died", pid=tree.supervisor_pid)
                self._replace_supervisor(tree)

    def _replace_supervisor(self, tree: _Tree) -> None:
        """Its children have died with it, so a new one begins from nothing."""
        tree.supervisor = tree.system.createActor(NodeSupervisor, globalName=GLOBAL_NAME)
        started = self._ask_until(tree.system, tree.supervisor, self._node, NodeStarted, START_S_MAX)
        tree.supervisor_pid = started.pid
        self._on_started({"admin": tree.admin_pid, "supervisor": started.pid})
        log.info("supervisor started", pid=started.pid)

    def _ask_until(self, system: Any, address: Any, message: Any, kind: type, limit_s: float) -> Any:
        """Send until an answer of `kind` comes; anything else that arrives is an old answer."""
        until_s = time.monotonic() + limit_s
        while time.monotonic() < until_s:
            reply = system.ask(address, message, timedelta(seconds=1))
            while reply is not None:
                if isinstance(reply, kind):
                    return reply
                reply = system.listen(timedelta(0))
        raise TreeNotStarted(f"{kind.__name__} did not come within {limit_s} s")

    def _drain(self, tree: _Tree) -> None:
        with contextlib.suppress(TreeNotStarted):
            self._ask_until(tree.system, tree.supervisor, Drain(), Drained, DRAIN_S_MAX)

    def _clear(self, tree: _Tree | None) -> None:
        """End what is left of a tree: an orderly shutdown first, then its whole session, and forget the context."""
        pid = tree.admin_pid if tree else hardening.admin_pid()
        if pid is not None and not _ended(pid):
            if tree is not None:
                with contextlib.suppress(Exception):
                    tree.system.shutdown()
            until_s = time.monotonic() + SHUTDOWN_S_MAX
            while not _ended(pid) and time.monotonic() < until_s:
                time.sleep(LOOK_S)
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(pid, signal.SIGKILL)


def _ended(pid: int) -> bool:
    """Whether a child of this process has ended; reaps it."""
    try:
        return os.waitpid(pid, os.WNOHANG) != (0, 0)
    except ChildProcessError:
        return True


def _exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
