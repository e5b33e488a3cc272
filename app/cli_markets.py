"""`zmart markets`: markets and what they wait for, for operators."""

from __future__ import annotations

from pathlib import Path

import click

from app.cli_options import AS_JSON, DATA_DIR, TARGET, settings_from


@click.command()
@DATA_DIR
@TARGET
@click.option("--due", is_flag=True, help="Only those that wait for a deadline, the next one first.")
@click.option("--state", default="", metavar="STATE", help="Only this state, such as ACTIVE.")
@click.option("--limit", type=click.IntRange(1, 100_000), default=1_000, show_default=True, help="How many are read.")
@AS_JSON
def markets(data_dir: Path | None, target: str | None, due: bool, state: str, limit: int, as_json: bool) -> None:
    """List markets, newest first, or by their next deadline."""
    from app import market_views as views
    from app.operator_door import door_of, opened

    door = door_of(settings_from(data_dir), target)
    with opened(door) as channel:
        found = views.listed(channel, door, state.upper(), limit)
    shown = views.due(found) if due else found
    (views.print_json if as_json else views.print_table)(shown)
    if due and len(found) == limit:
        click.echo(f"only the newest {limit} markets were read: give a greater --limit", err=True)
