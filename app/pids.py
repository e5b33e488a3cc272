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


def pids_of_roles(running: dict[str, list[int]], data_dir: Path, database_url: str) -> dict[str, list[int]]:
    """Pids by role; the actor tree's own come from its status file and from the table of owners."""
    tree = read_status(data_dir / STATUS_FILE)
    bridges = [pid for name, pids in running.items() if name.partition("-")[0] == "bridge" for pid in pids]
    pids = {"up": [os.getpid()], **running, "bridge": bridges}
    pids |= {name: [tree[name]] for name in ("launcher", "admin", "supervisor") if name in tree}
    try:
        pids["shard"] = asyncio.run(shard_pids(database_url))
    except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, TimeoutError):
        pids["shard"] = []  # the database is away; the next look tells
    return pids


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
