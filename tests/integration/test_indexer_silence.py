"""An indexer that hangs tells nobody; whoever listens for its heartbeat does."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from alerts import vigil
from indexer.pulse import BEAT_S
from storage.alerts import AlertQueue
from storage.database import database_pool
from storage.heartbeats import RoleBeats
from tests.support.eventually import eventually_async
from tests.support.index_child import TABLES, IndexChild
from tests.support.indexing import Rows
from tests.support.ledger import Chain

NOW_S = 1_762_510_000.0
OPEN = "SELECT severity FROM alerts WHERE alert_type = 'role_silent' AND resolved_at IS NULL"
ENDED = "SELECT resolved_at FROM alerts WHERE alert_type = 'role_silent' AND resolved_at IS NOT NULL"


@pytest.fixture
async def rows(database_url: str) -> Rows:
    found = Rows(database_url)
    for statement in TABLES.split(";"):
        await found.all(statement)
    return found


@pytest.fixture
async def child(chain: Chain, rows: Rows, database_url: str, tmp_path: Path) -> AsyncIterator[IndexChild]:
    """An indexer in a process of its own, over this chain."""
    told = tmp_path / "hints.json"
    told.write_text(json.dumps([]))
    child = IndexChild(database_url, chain.ledger.rpc_url, told, tmp_path / "child.log")
    child.start()
    yield child
    child.thaw()
    child.kill()


async def test_an_indexer_that_is_frozen_is_told_and_so_is_that_it_goes_on(
    child: IndexChild, rows: Rows, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vigil, "SILENT_S", 2 * BEAT_S)
    database = await database_pool(database_url, 2)
    beats = RoleBeats(database)
    listening = vigil.Vigil(beats, AlertQueue(database))

    async def is_heard() -> bool:
        await listening.look(NOW_S)
        return bool(await beats.ages_s()) and not await rows.all(OPEN)

    async def is_silent() -> bool:
        await listening.look(NOW_S)
        return bool(await rows.all(OPEN))

    # given an indexer that works
    await eventually_async(is_heard)
    # when it stands still, then people are told
    child.freeze()
    await eventually_async(is_silent)
    assert [row["severity"] for row in await rows.all(OPEN)] == ["HIGH"]
    # when it goes on, then that is over by itself
    child.thaw()
    await eventually_async(is_heard)
    assert await rows.all(ENDED) and child.is_alive
    await database.close()
