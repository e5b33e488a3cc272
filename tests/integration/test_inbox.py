"""The inbox of webhooks' bodies: what arrives while others wait for the disk is committed together."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import asyncpg
import pytest

from storage import inbox
from storage.bodies import unpacked
from storage.database import Database, database_pool
from storage.inbox import BATCHES_MAX, Inbox
from storage.outages import StorageUnavailable
from tests.support.eventually import eventually_async
from tests.support.indexing import Rows

STORED = "SELECT id, body, traceparent, xmin::text AS commit FROM webhook_inbox ORDER BY id"
WAITING = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    opened = await database_pool(database_url, BATCHES_MAX + 1)
    yield opened
    await opened.close()


async def test_bodies_that_come_at_once_are_few_commits_and_each_has_its_own_number(
    database: Database, database_url: str
) -> None:
    bodies = [str(number).encode() * number for number in range(1, 600, 12)]
    kept = Inbox(database)
    numbers = await asyncio.gather(*(kept.put(body, f"span-{len(body)}") for body in bodies))
    rows = await Rows(database_url).all(STORED)
    assert {row["id"]: (unpacked(row["body"]), row["traceparent"]) for row in rows} == {
        number: (body, f"span-{len(body)}") for number, body in zip(numbers, bodies, strict=True)
    }
    assert len({row["commit"] for row in rows}) == BATCHES_MAX + 1, "one each at first, and one for all the others"


async def test_a_batch_is_no_larger_than_its_bound(
    database: Database, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inbox, "BATCH_BYTES_MAX", 10)
    kept = Inbox(database)
    await asyncio.gather(*(kept.put(b"12345") for _ in range(BATCHES_MAX + 4)))
    rows = await Rows(database_url).all(STORED)
    assert len({row["commit"] for row in rows}) == BATCHES_MAX + 2


async def test_a_body_whose_caller_has_gone_is_not_begun_and_holds_up_nobody(
    database: Database, database_url: str
) -> None:
    kept, holder = Inbox(database), await asyncpg.connect(database_url)
    held = holder.transaction()
    await held.start()
    await holder.execute("LOCK TABLE webhook_inbox")
    first = [asyncio.create_task(kept.put(b"first")) for _ in range(BATCHES_MAX)]
    gone, last = asyncio.create_task(kept.put(b"gone")), asyncio.create_task(kept.put(b"last"))
    await eventually_async(lambda: _all_wait(database_url))
    gone.cancel()
    await held.rollback()
    await asyncio.gather(*first, last)
    assert gone.cancelled()
    rows = await Rows(database_url).all(STORED)
    assert sorted(row["body"] for row in rows) == [b"first"] * BATCHES_MAX + [b"last"]
    await holder.close()


async def _all_wait(database_url: str) -> bool:
    """Asked in a session of its own each time: a transaction sees the activity of its first look only."""
    return bool(await Rows(database_url).one(WAITING) == BATCHES_MAX)


async def test_an_outage_is_told_to_everybody_who_waits(unused_tcp_port: int) -> None:
    away = await database_pool(f"postgresql://zmart:x@127.0.0.1:{unused_tcp_port}/zmart", 2)
    kept = Inbox(away)
    ends = await asyncio.gather(*(kept.put(b"{}") for _ in range(20)), return_exceptions=True)
    assert [type(end) for end in ends] == [StorageUnavailable] * 20
    await away.close()
