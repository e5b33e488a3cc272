"""`zmart index` on a real database: what was given up is listed and tried again, and how far the way in is."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from app.cli import main
from domain.journal import AlertNote
from storage.database import database_pool
from storage.dead_letters import DeadLetters
from storage.inbox import Inbox
from storage.index_store import PostgresIndexStore
from tests.support.indexing import Rows

BODY = b'[{"signature": "whose reading met a bug"}]'


@pytest.fixture
def database_of_cli(database_url: str, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("ZMART_DATABASE_URL", database_url)
    return database_url


async def given_up(database_url: str) -> int:
    """A body that no worker could read any more; the number of its letter."""
    database = await database_pool(database_url, 2)
    await Inbox(database).put(BODY)
    store = PostgresIndexStore(database, "p")
    (body,) = await store.lease_bodies(1, 60.0)
    await store.bury_body(body.inbox_id, "a bug", AlertNote("webhook_dead_letter", "HIGH", "w", None, {}))
    (letter,) = await DeadLetters(database).list()
    await database.close()
    return letter.letter_id


async def run(folder: Path, *arguments: str) -> Result:
    command = ["index", *arguments, "--data-dir", str(folder)]
    return await asyncio.to_thread(CliRunner().invoke, main, command)


async def test_an_operator_lists_dead_letters_and_has_one_tried_again(database_of_cli: str, tmp_path: Path) -> None:
    assert (await run(tmp_path, "dead-letters")).output == "nothing was given up\n"
    number = await given_up(database_of_cli)
    shown = (await run(tmp_path, "dead-letters")).output
    assert shown.startswith(f"{number}\t") and "whose reading met a bug" in shown
    letter = json.loads((await run(tmp_path, "dead-letters", "--json")).output)
    assert (letter["id"], letter["body"]) == (number, BODY.decode())
    replayed = await run(tmp_path, "dead-letters", "--replay", str(number))
    assert (replayed.exit_code, replayed.output) == (0, f"replayed {number}\n")
    again = await run(tmp_path, "dead-letters", "--replay", str(number))
    assert again.exit_code == 1 and f"no letter {number}" in again.output
    rows = Rows(database_of_cli)
    assert await rows.one("SELECT count(*) FROM webhook_inbox WHERE status = 'pending'") == 1
    assert await rows.one("SELECT count(*) FROM dead_letters WHERE replayed_at IS NULL") == 0


async def test_status_says_how_much_waits_and_a_database_that_is_away_is_said_in_words(
    database_of_cli: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await given_up(database_of_cli)
    standing = json.loads((await run(tmp_path, "status")).output)
    assert standing["dead_count"] == 1 and standing["swept_s"] is None
    monkeypatch.setenv("ZMART_DATABASE_URL", "postgresql://x@127.0.0.1:9/x")
    away = await run(tmp_path, "status")
    assert away.exit_code == 1 and "Error:" in away.output and "Traceback" not in away.output
