"""What is really running on this machine, from /proc."""

from collections.abc import Iterable
from pathlib import Path

import psutil

from app.runner import RUN_ID_VARIABLE


def processes_of_run(run_id: str) -> list[int]:
    """The pids of every living process that carries this run's ZMART_RUN_ID (a zombie has no environment left)."""
    mark = f"{RUN_ID_VARIABLE}={run_id}".encode()
    return [pid for pid in _pids() if mark in _environment(pid)]


def family_of(pid: int) -> list[psutil.Process]:
    """The process and all its descendants now: PostgreSQL's own children wipe the environment they were given."""
    process = psutil.Process(pid)
    return [process, *process.children(recursive=True)]


def alive(processes: Iterable[psutil.Process]) -> list[psutil.Process]:
    """Those that still run: neither gone, nor dead and waiting to be reaped, nor another process under the same pid."""
    return [process for process in processes if process.is_running() and not _is_zombie(process)]


def _is_zombie(process: psutil.Process) -> bool:
    try:
        return process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def _pids() -> list[int]:
    return [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]


def _environment(pid: int) -> list[bytes]:
    try:
        return Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return []  # gone meanwhile, or another user's
