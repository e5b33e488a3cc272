"""Taking virtual shards: the advisory lock (77, vshard) on the session that commits, then a new epoch."""

import asyncio
import math
import os
from collections.abc import Sequence
from typing import Any

import asyncpg
import structlog

from storage.outages import VirtualShardsHeld
from storage.queries import sql

POLL_S = 0.02
ACQUIRE_TIMEOUT_S = 10.0
"""A frozen host is declared dead after 2 s and its sessions end within about 10 s by keepalive."""

log = structlog.get_logger("journal")


class Ownership:
    """How a shard on `host` (its port and pid are what others see) comes to own virtual shards.

    A holder that is a dead process of the same host is ended at once, by its session; any other is waited for.
    """

    def __init__(self, connection: asyncpg.Connection, host: str, port: int, pid: int) -> None:
        self._connection = connection
        self._host = host
        self._port = port
        self._pid = pid

    async def take(self, virtual_shards: Sequence[int], timeout_s: float) -> dict[int, int]:
        """Lock all of them and return their new epochs; raises VirtualShardsHeld and then holds none of them more."""
        ids = [str(vshard) for vshard in sorted(set(virtual_shards))]
        missing = await self._lock(ids, polls_max=math.ceil(timeout_s / POLL_S))
        if missing:
            held = {row["id"]: f"{row['host']}:{row['port']} pid {row['pid']}" for row in await self._holders(missing)}
            await self._connection.execute(sql("release_locks"), [vshard for vshard in ids if vshard not in missing])
            raise VirtualShardsHeld(held, timeout_s)
        rows = await self._connection.fetch(sql("take_ownership"), ids, self._host, self._port, self._pid)
        return {row["id"]: row["epoch"] for row in rows}

    async def _lock(self, ids: list[str], polls_max: int) -> list[str]:
        """Try until all are locked; returns those that are not after so many polls."""
        missing = await self._try(ids)
        for _ in range(polls_max):
            if not missing:
                break
            await self._end_the_dead(missing)
            await asyncio.sleep(POLL_S)
            missing = await self._try(missing)
        return missing

    async def _try(self, ids: list[str]) -> list[str]:
        rows = await self._connection.fetch(sql("try_locks"), ids)
        return [str(row["id"]) for row in rows if not row["taken"]]

    async def _end_the_dead(self, ids: list[str]) -> None:
        """End sessions whose process is gone, and only those that wrote their row: a newer holder may be about to."""
        rows = [row for row in await self._holders(ids) if row["is_recorded"] and row["host"] == self._host]
        for backend_pid, pid in {(row["backend_pid"], row["pid"]) for row in rows}:
            if not is_alive(pid):
                log.warning("ending the session of a dead shard", pid=pid, backend_pid=backend_pid)
                await self._connection.execute(sql("terminate_backend"), backend_pid)

    async def _holders(self, ids: list[str]) -> list[Any]:
        return list(await self._connection.fetch(sql("lock_holders"), ids))


def is_alive(pid: int) -> bool:
    """Whether a process of this host has that pid; one that is dead but not reaped counts, its sockets are closed."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
