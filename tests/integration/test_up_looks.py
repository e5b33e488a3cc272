"""What `zmart up` asks of its database while it runs is bounded, whatever the database does."""

from __future__ import annotations

import asyncio
import os
import subprocess

import asyncpg
import pytest

from app import pids
from app.pids import shard_pids
from storage.migrate import migrate
from tests.support.eventually import WAIT_S_MAX


async def test_a_look_at_the_shards_gives_up_when_the_table_is_locked(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    await migrate(database_url)
    assert await shard_pids(database_url) == []
    monkeypatch.setattr(pids, "PROBE_S", 0.2)
    other = await asyncpg.connect(database_url)
    try:
        async with other.transaction(), asyncio.timeout(WAIT_S_MAX):
            await other.execute("LOCK TABLE virtual_shards")
            with pytest.raises(TimeoutError):
                await shard_pids(database_url)
    finally:
        await other.close()


def test_the_owners_are_asked_for_again_when_one_of_them_has_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    child = subprocess.Popen(["sleep", "600"])
    told = [[child.pid], [os.getpid()]]

    async def shard_pids(_: str) -> list[int]:
        return told.pop(0)

    monkeypatch.setattr(pids, "shard_pids", shard_pids)
    owners = pids.Owners("")
    assert [owners.pids(1.0), owners.pids(2.0)] == [[child.pid]] * 2
    child.kill()
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)  # dead, and not reaped
    assert [owners.pids(3.0), owners.pids(4.0)] == [[os.getpid()]] * 2
    child.wait()
    told.append([])
    assert owners.pids(3.0 + pids.ASK_AGAIN_S) == []
