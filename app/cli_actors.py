"""`zmart actors`, `shards`, `transactions` and `tail`: how the monitor of every market stands, for operators."""

from __future__ import annotations

import time
from pathlib import Path

import click

from app.cli_options import AS_JSON, DATA_DIR, TARGET, settings_from

STATUSES = ("planned", "signed", "sent", "confirmed", "finalized", "failed", "expired")


@click.command()
@click.argument("market")
@DATA_DIR
@TARGET
@AS_JSON
def actors(market: str, data_dir: Path | None, target: str | None, as_json: bool) -> None:
    """Describe the actor of a MARKET: state, deadlines, last decision, transaction under way, owner."""
    from app import actor_views as views
    from app.operator_door import door_of, opened

    door = door_of(settings_from(data_dir), target)
    with opened(door) as channel:
        (views.print_json if as_json else views.print_text)([views.described(channel, door, market)])


@click.command()
@DATA_DIR
@TARGET
@AS_JSON
def shards(data_dir: Path | None, target: str | None, as_json: bool) -> None:
    """List the shard processes: what they own, how many markets they hold, how late they are."""
    from app import actor_views as views
    from app.operator_door import door_of, line_of, opened

    door = door_of(settings_from(data_dir), target)
    with opened(door) as channel:
        answer = views.shards(channel, door)
    click.echo(line_of(answer)) if as_json else views.print_shards(answer)


@click.command()
@DATA_DIR
@TARGET
@click.option("--market", default="", help="Only this market's.")
@click.option("--status", type=click.Choice(STATUSES), help="Only this status.")
@click.option("--action", default="", metavar="INSTRUCTION", help="Only this one, such as finalize_market.")
@click.option("--limit", type=click.IntRange(1, 10_000), default=50, show_default=True, help="How many, newest first.")
@AS_JSON
def transactions(
    data_dir: Path | None,
    target: str | None,
    market: str,
    status: str | None,
    action: str,
    limit: int,
    as_json: bool,
) -> None:
    """List the transactions that this backend planned or sent, newest first."""
    from app import actor_views as views
    from app.operator_door import door_of, opened
    from zmart.v1.ops_service_pb2 import ListTransactionsRequest

    door = door_of(settings_from(data_dir), target)
    wanted = ListTransactionsRequest(market_id=market, status=status or "", action=action)
    with opened(door) as channel:
        found = views.transactions(channel, door, wanted, limit)
    (views.print_json if as_json else views.print_transactions)(found)


@click.command()
@click.argument("market")
@DATA_DIR
@TARGET
@AS_JSON
def tail(market: str, data_dir: Path | None, target: str | None, as_json: bool) -> None:
    """Follow a MARKET: its actor and its transactions, again whenever they change, until interrupted."""
    from app import actor_views as views
    from app.operator_door import door_of

    door = door_of(settings_from(data_dir), target)
    show = views.print_json if as_json else views.print_text
    for each in views.tailed(lambda: views.seen(door, market), lambda: time.sleep(views.TAIL_S)):
        show([each])
