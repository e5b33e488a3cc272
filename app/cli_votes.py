"""`zmart votes`: what anybody may have of the votes of a market."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from app.cli_options import DATA_DIR, TARGET, settings_from

if TYPE_CHECKING:
    from app.operator_door import Door


@click.group()
def votes() -> None:
    """Votes as they were taken, for whoever wants to recount them."""


@votes.command()
@click.argument("market")
@click.option("--output", type=click.Path(path_type=Path, dir_okay=False), help="The file to write (default: stdout).")
@TARGET
@DATA_DIR
def export(market: str, output: Path | None, target: str | None, data_dir: Path | None) -> None:
    """Export every vote of a MARKET with its receipt, and what was published about them, as lines of JSON.

    A file is there when all of it is, and never before; exit status 1 when it could not be had. Check it with
    tools/recount_votes.py.
    """
    from app.operator_door import opened
    from app.vote_export import exported, standard_output, whole_file

    door = _door(target, data_dir)
    with opened(door) as channel, whole_file(output) if output else standard_output() as file:
        last = exported(channel, market, file)
    end = json.loads(last)
    click.echo(f"{end['votes']} votes, {end['late']} late, {end['aggregations']} aggregations", file=sys.stderr)


def _door(target: str | None, data_dir: Path | None) -> Door:
    """Where the server is; nobody has to say who is asking."""
    from app.connection import CONNECTION_FILE, read_connection
    from app.operator_door import Door

    if target is not None:
        return Door(target, ())
    folder = settings_from(data_dir).data_dir
    try:
        return Door(read_connection(folder)["grpc_target"], ())
    except (FileNotFoundError, PermissionError) as absent:
        raise click.ClickException(
            f"no {CONNECTION_FILE} to read in {folder}: name the data dir of a running system, or give --target"
        ) from absent
