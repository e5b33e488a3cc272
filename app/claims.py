"""What `zmart up` takes for itself before anything starts: its data dir and its ports."""

from __future__ import annotations

import dataclasses
import fcntl
import os
import socket
from pathlib import Path
from typing import TextIO

from app.config import Settings


class PortTaken(Exception):
    """Somebody else listens where one of our parts should."""

    def __init__(self, name: str, host: str, port: int) -> None:
        super().__init__(f"{host}:{port} ({name}) is taken: stop who listens there, or give another --port-base")


class DataDirTaken(Exception):
    """Another `zmart up` works in this data dir."""

    def __init__(self, path: Path, holder: str) -> None:
        super().__init__(f"another zmart up (pid {holder}) works in {path.parent}: stop it, or give another --data-dir")


def hold(path: Path) -> TextIO:
    """Take the data dir for this process until it ends, however it ends; raises DataDirTaken when another has it."""
    lock = path.open("a+")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        lock.seek(0)
        holder = lock.read().strip() or "unknown"
        lock.close()
        raise DataDirTaken(path, holder) from error
    lock.truncate(0)
    lock.write(str(os.getpid()))
    lock.flush()
    return lock


def refuse_taken_ports(settings: Settings) -> None:
    """Raise PortTaken: a probe that met a stranger's server would call our own role ready."""
    for name, port in dataclasses.asdict(settings.ports).items():
        if name.startswith("ledger") and settings.solana_rpc_url is not None:
            continue  # no ledger of ours; a validator may well listen there
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # TIME_WAIT keeps no port
            try:
                probe.bind((settings.host, port))
            except OSError as error:
                raise PortTaken(name, settings.host, port) from error
