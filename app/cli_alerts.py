"""`zmart alerts`: what people must know, for operators: listed, followed, acknowledged, resolved."""

from __future__ import annotations

import time
from pathlib import Path

import click

from app.cli_options import AS_JSON, DATA_DIR, TARGET, settings_from


@click.command()
@DATA_DIR
@TARGET
@click.option("--severity", type=click.Choice(["CRITICAL", "HIGH", "MEDIUM", "LOW"]), help="Only this severity.")
@click.option("--status", type=click.Choice(["open", "acknowledged", "resolved"]), help="Only this status.")
@click.option("--market", default="", help="Only this market's.")
@click.option("--limit", type=click.IntRange(1, 10_000), default=50, show_default=True, help="How many, newest first.")
@click.option("--follow", is_flag=True, help="Go on and print whatever is new or changes, until interrupted.")
@click.option("--ack", "acknowledge", metavar="ID", help="Take note of an alert: no more reminders.")
@click.option("--resolve", metavar="ID", help="Say that it is over: what happens again is a new alert.")
@AS_JSON
def alerts(
    data_dir: Path | None,
    target: str | None,
    severity: str | None,
    status: str | None,
    market: str,
    limit: int,
    follow: bool,
    acknowledge: str | None,
    resolve: str | None,
    as_json: bool,
) -> None:
    """List alerts, newest first; or follow, acknowledge or resolve them."""
    from app import alert_views as views
    from app.operator_door import door_of, opened
    from zmart.v1.ops_service_pb2 import ListAlertsRequest

    if follow and (acknowledge or resolve):
        raise click.UsageError("--follow only looks: give --ack and --resolve without it")
    door = door_of(settings_from(data_dir), target)
    show = views.print_json if as_json else views.print_text
    wanted = ListAlertsRequest(severity=severity or "", status=status or "", market_id=market)
    if follow:
        for alert in views.followed(lambda: views.listing(door, wanted), lambda: time.sleep(views.FOLLOW_S)):
            show([alert])
    with opened(door) as channel:
        if acknowledge or resolve:
            show(list(views.marked(channel, door, acknowledge, resolve)))
        else:
            show(views.listed(channel, door, wanted, limit))
