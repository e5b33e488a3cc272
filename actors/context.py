"""One thread's way into the actor system: a Thespian context that is never stuck for longer than it is told."""

from __future__ import annotations

import contextlib
import os
import secrets
import socket
import threading
from collections.abc import Callable
from typing import Any

import structlog
from thespian.actors import ActorSystem

from actors.supervisor import GLOBAL_NAME, NodeSupervisor

CONNECT_RETRY_S = 0.1
SLICE_S = 0.1
"""How long a thread listens before it looks whether anything else has changed; each listening costs 0.25 ms of CPU."""
_PROCESS_TOKEN = secrets.token_hex(8)

log = structlog.get_logger("directory")


class Context:
    """A Thespian context for one thread; made anew when it may be stuck or the admin has gone.

    Only `ask` sends: `tell` waits up to a minute for a peer that does not read, or whose port is somebody else's now.
    """

    def __init__(self, admin_port: int, stopping: threading.Event) -> None:
        self._admin_port = admin_port
        self._stopping = stopping
        self._system: Any = None
        self._stack = contextlib.ExitStack()
        self._context: Any = None

    def supervisor(self) -> Any:
        """The address of NodeSupervisor, None when there is no actor system at the moment."""
        return self._tried(lambda: self._open().createActor(NodeSupervisor, globalName=GLOBAL_NAME))

    def ask(self, address: Any, message: Any, timeout_s: float) -> Any:
        """Send, and give the next message from anybody, or None after `timeout_s`."""
        return self._tried(lambda: self._open().ask(address, message, timeout_s))

    def listen(self, timeout_s: float) -> Any:
        """The next message, or None after `timeout_s`."""
        return self._tried(lambda: self._open().listen(timeout_s))

    def renew(self) -> None:
        """Drop the context with all that it still tries to send; answers to it are lost, and asked for again."""
        self._context = None
        stack, self._stack = self._stack, contextlib.ExitStack()
        with contextlib.suppress(Exception):  # it is broken, or it was fine
            stack.close()

    def _open(self) -> Any:
        if self._system is None:
            self._system = ActorSystem("multiprocTCPBase", {"Admin Port": self._admin_port}, transientUnique=True)
        if self._context is None:
            self._context = self._stack.enter_context(self._system.private())
        return self._context

    def _tried(self, work: Callable[[], Any]) -> Any:
        try:
            return work()
        except Exception as failure:  # Thespian raises many kinds when no admin answers
            log.warning("no actor system", port=self._admin_port, error=str(failure))
            self.renew()
            self._system = None
            self._stopping.wait(CONNECT_RETRY_S)
            return None


def own_name(part: str) -> str:
    """Never the same in two processes: a shard answers a repeated batch by this name, and pids come again."""
    return f"{socket.gethostname()}/{os.getpid()}/{_PROCESS_TOKEN}/{part}"
