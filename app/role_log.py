"""The log file of one role: what the child writes to stdout and stderr, bounded in size.

The child holds the file itself, opened for appending, so its last words survive the death of `zmart up`, and a stalled
runner never blocks a child on a full pipe. The price: lines written during the microseconds between copy and truncation
are lost, and the bound is exceeded by whatever is written between two looks.
"""

import os
import shutil
from pathlib import Path

LOG_BYTES_MAX = 8 * 1024 * 1024
TAIL_LINES = 20
TAIL_BYTES_MAX = 16 * 1024


class RoleLog:
    """`<directory>/<name>.log`, and `<name>.log.1` with what came before it: at most about 16 MiB together."""

    def __init__(self, directory: Path, name: str, bytes_max: int = LOG_BYTES_MAX) -> None:
        self.path = directory / f"{name}.log"
        self._bytes_max = bytes_max
        self._began_at = self.path.stat().st_size if self.path.exists() else 0
        """Where this run's lines begin; what another run wrote says nothing about this one."""

    def open(self) -> int:
        """A descriptor for the child to write to; the caller closes its own copy."""
        self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        return os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)

    def trim(self) -> None:
        """Move a file over the bound aside as `.1`, replacing the one before it."""
        if self.path.stat().st_size <= self._bytes_max:
            return
        partial = self.path.with_suffix(".log.1.partial")
        shutil.copy(self.path, partial)
        os.truncate(self.path, 0)
        self._began_at = 0
        partial.replace(self.path.with_suffix(".log.1"))

    def tail(self) -> str:
        """The last 20 lines of this run, for an error message; empty when nothing was written."""
        if not self.path.exists():
            return ""
        with self.path.open("rb") as file:
            file.seek(max(self.path.stat().st_size - TAIL_BYTES_MAX, self._began_at))
            return "\n".join(file.read().decode(errors="replace").splitlines()[-TAIL_LINES:])
