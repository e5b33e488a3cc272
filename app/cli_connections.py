"""`zmart connections` and `zmart kick`: who follows markets over WebSocket, for operators."""

from __future__ import annotations

from pathlib import Path

import click

from app.cli_options import AS_JSON, DATA_DIR, TARGET, settings_from


@click.command()
@DATA_DIR
@TARGET
@click.option("--wallet", default="", help="Only this wallet's.")
@click.option("--limit", type=click.IntRange(1, 500), default=50, show_default=True, help="How many, slowest first.")
@AS_JSON
def connections(data_dir: Path | None, target: str | None, wallet: str, limit: int, as_json: bool) -> None:
    """List open WebSocket connections of all bridges, those furthest behind first."""
    from app import connection_views as views
    from app.operator_door import door_of, opened

    door = door_of(settings_from(data_dir), target)
    with opened(door) as channel:
        answer = views.connections(channel, door, wallet, limit)
    (views.print_json if as_json else views.print_table)(answer)


@click.command()
@click.argument("wallet")
@click.option("--reason", required=True, help="Why: the client is told, and it is kept.")
@DATA_DIR
@TARGET
@AS_JSON
def kick(wallet: str, reason: str, data_dir: Path | None, target: str | None, as_json: bool) -> None:
    """Close every WebSocket connection of a WALLET; ends with 1 when a bridge has not answered."""
    from app import connection_views as views
    from app.operator_door import door_of, line_of, opened

    door = door_of(settings_from(data_dir), target)
    with opened(door) as channel:
        answer = views.kicked(channel, door, wallet, reason)
    click.echo(line_of(answer) if as_json else views.sentence_of(answer))
    raise SystemExit(0 if all(bridge.answered for bridge in answer.bridges) else 1)
