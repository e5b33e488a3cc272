"""`zmart index`: what the indexer gave up and how far it is, for operators; works on the database alone."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from app.cli_options import DATA_DIR, settings_from
from app.config import Settings

if TYPE_CHECKING:
    from domain.indexed import DeadLetter
    from storage.database import Database

SHOWN_BYTES = 60


@click.group()
def index() -> None:
    """Look after the indexer."""


@index.command("dead-letters")
@DATA_DIR
@click.option("--replay", "letter_id", type=int, help="Put this letter back where it came from.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object for each letter.")
def dead_letters(data_dir: Path | None, letter_id: int | None, as_json: bool) -> None:
    """List what was given up, oldest first, or have one of it tried again."""
    from storage.dead_letters import DeadLetters

    async def work(database: Database, settings: Settings) -> None:  # noqa: ARG001 - as the others
        letters = DeadLetters(database)
        if letter_id is None:
            _print(await letters.list(), as_json)
        elif await letters.replay(letter_id):
            click.echo(f"replayed {letter_id}")
        else:
            raise click.ClickException(f"there is no letter {letter_id} that was not replayed")

    _run(data_dir, work)


@index.command()
@DATA_DIR
def status(data_dir: Path | None) -> None:
    """Print how far behind the way in is, as one JSON object."""
    from storage.index_store import PostgresIndexStore

    async def work(database: Database, settings: Settings) -> None:
        click.echo(json.dumps(asdict(await PostgresIndexStore(database, settings.program_id).standing())))

    _run(data_dir, work)


def _run(data_dir: Path | None, work: Callable[[Database, Settings], Awaitable[None]]) -> None:
    """Do it on the database of the settings, or of the `zmart up` in the data dir; an outage ends it with words."""
    from app.connection import database_of
    from app.wiring import SettingMissing
    from storage.database import database_pool
    from storage.outages import StorageUnavailable

    settings = settings_from(data_dir)

    async def run() -> None:
        database = await database_pool(database_of(settings), 1, "zmart-index")
        try:
            await work(database, settings)
        finally:
            await database.close()

    try:
        asyncio.run(run())
    except (StorageUnavailable, SettingMissing) as error:
        raise click.ClickException(str(error)) from error


def _print(letters: Sequence[DeadLetter], as_json: bool) -> None:
    for letter in letters:
        shown = letter.body[:SHOWN_BYTES].decode("utf-8", "replace")
        if as_json:
            row = {"id": letter.letter_id, "kind": letter.kind, "error": letter.error, "created_at": letter.created_at}
            click.echo(json.dumps({**row, "body": letter.body.decode("utf-8", "replace")}))
        else:
            click.echo(f"{letter.letter_id}\t{letter.created_at}\t{letter.kind}\t{letter.error}\t{shown!r}")
    if not letters and not as_json:
        click.echo("nothing was given up")
