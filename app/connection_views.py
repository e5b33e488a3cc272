"""WebSocket connections as an operator's terminal shows them, over gRPC."""

from __future__ import annotations

from collections.abc import Iterable

import click
import grpc
from rich.console import Console
from rich.table import Column, Table

from app.operator_door import ANSWER_S_MAX, Door, line_of
from zmart.v1 import ops_service_pb2 as pb
from zmart.v1.ops_service_pb2_grpc import OpsServiceStub


def connections(channel: grpc.Channel, door: Door, wallet: str, limit: int) -> pb.ListConnectionsResponse:
    """The connections furthest behind."""
    request = pb.ListConnectionsRequest(user_pubkey=wallet, limit=limit)
    return OpsServiceStub(channel).ListConnections(request, metadata=door.metadata, timeout=ANSWER_S_MAX)


def kicked(channel: grpc.Channel, door: Door, wallet: str, reason: str) -> pb.KickConnectionsResponse:
    """Close a wallet's connections."""
    request = pb.KickConnectionsRequest(user_pubkey=wallet, reason=reason)
    return OpsServiceStub(channel).KickConnections(request, metadata=door.metadata, timeout=ANSWER_S_MAX)


def print_json(answer: pb.ListConnectionsResponse) -> None:
    """One line for each connection."""
    for each in answer.connections:
        click.echo(line_of(each))


def print_table(answer: pb.ListConnectionsResponse) -> None:
    """A row for each connection, then how many there are and who has not answered."""
    right = [Column(name, justify="right") for name in ("channels", "open s", "backlog bytes", "pid")]
    table = Table(Column("wallet", overflow="fold"), *right[:3], "host", right[3])
    for each in answer.connections:
        figures = (str(each.channels), f"{each.open_seconds:.0f}", str(each.backlog_bytes))
        table.add_row(each.user_pubkey or "-", *figures, each.host, str(each.pid))
    Console().print(table)
    click.echo(f"{answer.total_count} connections{_unanswered(answer.bridges)}")


def sentence_of(answer: pb.KickConnectionsResponse) -> str:
    """What was done."""
    return f"{answer.closed} connections closed by order {answer.order_id}{_unanswered(answer.bridges)}"


def _unanswered(bridges: Iterable[pb.Bridge]) -> str:
    silent = [f"{each.host}/{each.pid}" for each in bridges if not each.answered]
    return f"; no answer of {', '.join(silent)}" if silent else ""
