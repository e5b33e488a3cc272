"""Which processes a running system consists of, as the roles and the table of owners tell."""

from __future__ import annotations

import asyncio
import json
import os
from pathlib import Path
from typing import Any

import asyncpg

from app.roles_actors import STATUS_FILE

PROBE_S = 1.0
"""The longest look at the database; a system whose table is locked must go on being watched."""


ASK_AGAIN_S = 10.0
"""How long the pids of owners are believed while such processes live: a look is a session of its own, 5 ms of CPU."""


class Owners:
    """The pids of the shards, asked for when one of them is gone; a number that was given away again shows later."""

    def __init__(self, database_url: str) -> None:
        self._database_url = database_url
        self._pids: list[int] = []
        self._asked_at_s = 0.0

    def pids(self, now_s: float) -> list[int]:
        """What the table of owners says, empty while the database is away."""
        if now_s - self._asked_at_s < ASK_AGAIN_S and self._pids and all(map(_runs, self._pids)):
            return self._pids
        self._asked_at_s = now_s
        try:
            self._pids = asyncio.run(shard_pids(self._database_url))
        except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, TimeoutError):
            self._pids = []
        return self._pids


def pids_of_roles(running: dict[str, list[int]], data_dir: Path, shards: list[int]) -> dict[str, list[int]]:
    """Pids by role; the actor tree's own come from its status file."""
    tree = read_status(data_dir / STATUS_FILE)
    bridges = [pid for name, pids in running.items() if name.partition("-")[0] == "bridge" for pid in pids]
    pids = {"up": [os.getpid()], **running, "bridge": bridges, "shard": shards}
    return pids | {name: [tree[name]] for name in ("launcher", "admin", "supervisor") if name in tree}


def bridge_names(count: int) -> list[str]:
    """The roles of several bridges: `bridge`, `bridge-2` and so on; their pids are also listed together."""
    return ["bridge", *(f"bridge-{number}" for number in range(2, count + 1))]


async def shard_pids(database_url: str) -> list[int]:
    """The processes that own virtual shards."""
    connection = await asyncpg.connect(database_url, timeout=PROBE_S, command_timeout=PROBE_S)
    try:
        rows = await connection.fetch("SELECT DISTINCT pid FROM virtual_shards WHERE pid IS NOT NULL ORDER BY pid")
    finally:
        await connection.close(timeout=PROBE_S)
    return [row["pid"] for row in rows]


def read_status(path: Path) -> dict[str, Any]:
    """What a role has written down about itself; empty when it has not yet."""
    try:
        status: dict[str, Any] = json.loads(path.read_text())
    except FileNotFoundError:
        return {}
    return status


def is_alive(pid: int) -> bool:
    """Whether there is such a process."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def _runs(pid: int) -> bool:
    """Whether the process exists and is no zombie: its parent may be slow to notice."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False
