"""`zmart index backfill`."""

from __future__ import annotations

import asyncio
from pathlib import Path

import click

from app.cli_options import DATA_DIR, settings_from


@click.command()
@DATA_DIR
@click.option("--from-slot", type=click.IntRange(0), required=True, help="The oldest slot to read.")
def backfill(data_dir: Path | None, from_slot: int) -> None:
    """Read the program's history from a slot on; a killed one goes on where it was."""
    from app.backfill import Bar
    from app.backfill import backfill as read_history
    from app.connection import database_of
    from app.wiring import SettingMissing
    from chain.rpc import ChainUnavailable, RpcRefused
    from storage.database import database_pool
    from storage.outages import StorageUnavailable

    settings = settings_from(data_dir)

    async def run() -> None:
        database = await database_pool(database_of(settings), 2, "zmart-backfill")
        try:
            with Bar() as bar:
                missing, cursor = await read_history(settings, database, from_slot, bar.told)
        finally:
            await database.close()
        click.echo(f"{missing} transactions were missing; all is read from slot {from_slot} to {cursor.slot}")

    try:
        asyncio.run(run())
    except (ChainUnavailable, RpcRefused, StorageUnavailable, SettingMissing) as error:
        raise click.ClickException(f"{error}; run it again to go on") from error
