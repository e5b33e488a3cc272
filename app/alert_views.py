"""Alerts as an operator's terminal shows them, over gRPC."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import islice

import click
import grpc

from app.operator_door import ANSWER_S_MAX, Door, line_of, pages, sentence
from zmart.v1 import ops_service_pb2 as pb
from zmart.v1.ops_service_pb2_grpc import OpsServiceStub

FOLLOW_S = 2.0
"""How often `--follow` looks."""
FOLLOWED_MAX = 200
"""Alerts that `--follow` looks at, the newest; older ones that change are seen in the list."""


def followed(look: Callable[[], Sequence[pb.Alert]], pause: Callable[[], None]) -> Iterator[pb.Alert]:
    """Every alert as it is first seen, oldest first, and again whenever it has changed; for ever."""
    seen: dict[str, tuple[int, str]] = {}
    while True:
        found = look()
        for alert in reversed(found):
            state = (alert.occurrences, alert.status)
            if seen.get(alert.id) != state:
                yield alert
            seen[alert.id] = state
        if len(seen) > 2 * FOLLOWED_MAX:
            seen = {alert.id: seen[alert.id] for alert in found}
        pause()


def listing(door: Door, wanted: pb.ListAlertsRequest) -> Sequence[pb.Alert]:
    """The newest alerts; a server that is away for a moment is said and waited for."""
    try:
        with grpc.insecure_channel(door.target) as channel:
            return listed(channel, door, wanted, FOLLOWED_MAX)
    except grpc.RpcError as error:
        assert isinstance(error, grpc.Call)
        if error.code() not in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED):
            raise click.ClickException(sentence(door, error)) from error
        click.echo(sentence(door, error), err=True)
        return ()


def listed(channel: grpc.Channel, door: Door, wanted: pb.ListAlertsRequest, limit: int) -> list[pb.Alert]:
    """Up to `limit` alerts, newest first, page by page."""
    found = pages(OpsServiceStub(channel).ListAlerts, door, wanted, limit)
    return list(islice((each for page in found for each in page.alerts), limit))


def marked(channel: grpc.Channel, door: Door, acknowledge: str | None, resolve: str | None) -> Iterator[pb.Alert]:
    """Acknowledge and resolve those alerts, and give them back as they are then."""
    stub = OpsServiceStub(channel)
    if acknowledge:
        request = pb.AcknowledgeAlertRequest(id=acknowledge)
        yield stub.AcknowledgeAlert(request, metadata=door.metadata, timeout=ANSWER_S_MAX).alert
    if resolve:
        end = pb.ResolveAlertRequest(id=resolve)
        yield stub.ResolveAlert(end, metadata=door.metadata, timeout=ANSWER_S_MAX).alert


def print_json(found: Sequence[pb.Alert]) -> None:
    """One line for each."""
    for alert in found:
        click.echo(line_of(alert))


def print_text(found: Sequence[pb.Alert]) -> None:
    """A paragraph for each: alerts differ too much for a table, and their ids must be whole to be of use."""
    for alert in found:
        click.echo("\n".join(text_of(alert)))
    if not found:
        click.echo("no alerts")


def text_of(alert: pb.Alert) -> list[str]:
    """An alert as lines for a person; control characters of its facts do not reach the terminal."""
    when = f"{alert.last_at.ToJsonString()}"
    times = f" x{alert.occurrences}" if alert.occurrences > 1 else ""
    lines = [f"{alert.severity} {alert.alert_type}{times} [{alert.status}] {when}", f"  id: {alert.id}"]
    if alert.market_id:
        lines.append(f"  market: {alert.market_id}")
    lines += [f"  {name}: {_printable(alert.data[name])}" for name in alert.data if name != "market_id"]
    lines += [
        f"  {told.sink}: {told.occasion} {told.status}, attempts {told.attempts}"
        + (f": {_printable(told.last_error)}" if told.last_error else "")
        for told in alert.deliveries
    ]
    return lines


def _printable(value: object) -> str:
    return "".join(letter if letter.isprintable() else " " for letter in str(value))
