"""An actor system in processes of its own, started by exec, with every process of it in sight."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import uuid
from pathlib import Path
from typing import Any

import psutil

from app.embedded import free_port

HERE = Path(__file__).parent
ROOT = HERE.parents[2]
MARK = "ZMART_TEST_TREE"


class Tree:
    """One launcher and all that descends from it, daemons included: they inherit a mark in their environment."""

    def __init__(self, mode: str, scratch: Path, port: int | None = None, log_dir: Path | None = None) -> None:
        self.mark = uuid.uuid4().hex
        self.port = port or free_port()
        arguments = [mode, str(self.port), *([str(log_dir)] if log_dir else [])]
        with (scratch / "stderr.txt").open("a") as complaints:
            self.launcher = subprocess.Popen(
                [sys.executable, str(HERE / "launcher.py"), *arguments],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=complaints,
                env=os.environ | {MARK: self.mark, "PYTHONPATH": str(ROOT), "TMPDIR": str(scratch)},
                text=True,
            )

    def do(self, name: str, *arguments: Any) -> Any:
        assert self.launcher.stdin is not None
        assert self.launcher.stdout is not None
        print(json.dumps({"do": name, "with": arguments}), file=self.launcher.stdin, flush=True)
        line = self.launcher.stdout.readline()
        assert line, f"the launcher ended in {name!r}"
        return json.loads(line)

    def members(self) -> set[int]:
        """The living processes of this tree, the launcher among them."""
        return {process.pid for process in psutil.process_iter() if self._is_member(process)}

    def listeners(self) -> set[tuple[str, int, int]]:
        """Who listens where: (address, port, pid)."""
        found = set()
        for pid in self.members():
            for connection in psutil.Process(pid).net_connections("tcp"):
                if connection.status == psutil.CONN_LISTEN:
                    found.add((connection.laddr.ip, connection.laddr.port, pid))
        return found

    def admin(self, actor_pid: int) -> int:
        """The parent of a top-level actor."""
        return psutil.Process(actor_pid).ppid()

    def loggers(self, admin_pid: int, *actor_pids: int) -> set[int]:
        """The admin's living children that are no actors: its logger, or none."""
        children = psutil.Process(admin_pid).children()
        return {child.pid for child in children if self._is_member(child)} - set(actor_pids)

    def end(self) -> None:
        for pid in self.members():
            with contextlib.suppress(ProcessLookupError):  # it went with its parent, which came before it
                os.kill(pid, signal.SIGKILL)
        self.launcher.wait()
        for stream in (self.launcher.stdin, self.launcher.stdout):
            assert stream is not None
            stream.close()

    def _is_member(self, process: psutil.Process) -> bool:
        try:
            return process.environ().get(MARK) == self.mark and process.status() != psutil.STATUS_ZOMBIE
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            return False
