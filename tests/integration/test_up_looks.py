"""What `zmart up` asks of its database while it runs is bounded, whatever the database does."""

from __future__ import annotations

import asyncio

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
