"""Actors, shard processes and transactions as an operator's terminal shows them, over gRPC."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import islice

import click
import grpc
from google.protobuf.message import Message
from rich.console import Console
from rich.table import Column, Table

from app.operator_door import ANSWER_S_MAX, Door, line_of, pages, sentence
from zmart.v1 import ops_service_pb2 as pb
from zmart.v1.ops_service_pb2_grpc import OpsServiceStub

TAIL_S = 1.0
"""How often `zmart tail` looks."""
TAILED_MAX = 20
"""Transactions of the market that it looks at, the newest."""
AWAY = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED)


def described(channel: grpc.Channel, door: Door, market: str) -> pb.DescribeActorResponse:
    """The actor of a market."""
    request = pb.DescribeActorRequest(market_id=market)
    return OpsServiceStub(channel).DescribeActor(request, metadata=door.metadata, timeout=ANSWER_S_MAX)


def shards(channel: grpc.Channel, door: Door) -> pb.ListShardsResponse:
    """Who owns what."""
    return OpsServiceStub(channel).ListShards(pb.ListShardsRequest(), metadata=door.metadata, timeout=ANSWER_S_MAX)


def transactions(
    channel: grpc.Channel, door: Door, wanted: pb.ListTransactionsRequest, limit: int
) -> list[pb.Transaction]:
    """Up to `limit` transactions, newest first, page by page."""
    found = pages(OpsServiceStub(channel).ListTransactions, door, wanted, limit)
    return list(islice((each for page in found for each in page.transactions), limit))


def seen(door: Door, market: str) -> Sequence[Message]:
    """The market's newest transactions, oldest first, then its actor; a server that is away is said and waited for."""
    wanted = pb.ListTransactionsRequest(market_id=market)
    try:
        with grpc.insecure_channel(door.target) as channel:
            return [*reversed(transactions(channel, door, wanted, TAILED_MAX)), described(channel, door, market)]
    except grpc.RpcError as error:
        assert isinstance(error, grpc.Call)
        if error.code() not in AWAY:
            raise click.ClickException(sentence(door, error)) from error
        click.echo(sentence(door, error), err=True)
        return ()


def tailed(look: Callable[[], Sequence[Message]], pause: Callable[[], None]) -> Iterator[Message]:
    """Everything as it is first seen and again whenever it has changed, for ever."""
    last: dict[str, Message] = {}
    while True:
        found = {_name(each): each for each in look()}
        yield from (each for name, each in found.items() if last.get(name) != each)
        last = found or last
        pause()


def print_json(found: Sequence[Message]) -> None:
    """One line for each."""
    for each in found:
        click.echo(line_of(each))


def print_text(found: Sequence[Message]) -> None:
    """A paragraph for an actor, a line for a transaction."""
    for each in found:
        click.echo("\n".join(_actor_lines(each)) if isinstance(each, pb.DescribeActorResponse) else _line(each))
    if not found:
        click.echo("nothing")


def print_shards(answer: pb.ListShardsResponse) -> None:
    """A row for each process, and the virtual shards that none of them owns."""
    table = Table("shard", "pid", "alive", "virtual shards", "resident", "deadlines", "lag s", "restarts", "last word")
    for each in answer.processes:
        table.add_row(
            each.slot,
            str(each.pid),
            "yes" if each.alive else "NO",
            str(each.virtual_shards),
            str(each.resident_markets),
            str(each.deadlines),
            str(each.lag_seconds),
            str(each.restarts),
            each.heartbeat_at.ToJsonString(),
        )
    Console(highlight=False).print(table)
    alive = {(each.host, each.pid) for each in answer.processes if each.alive}
    orphans = [str(each.virtual_shard) for each in answer.shards if (each.host, each.pid) not in alive]
    if orphans:
        click.echo(f"virtual shards without a living owner: {', '.join(orphans)}")


def print_transactions(found: Sequence[pb.Transaction]) -> None:
    """A row for each; ids whole, for they are what is looked for elsewhere."""
    wide = [Column(name, overflow="fold") for name in ("market", "signature")]
    table = Table("planned", "instruction", "attempt", "status", "error", *wide)
    for each in found:
        where = (each.market_id, each.transaction_signature)
        when = each.created_at.ToJsonString()
        table.add_row(when, each.action, str(each.attempt), each.status, each.error_name, *where)
    Console(highlight=False).print(table)


def _name(message: Message) -> str:
    return message.transaction_id if isinstance(message, pb.Transaction) else "actor"


def _line(each: Message) -> str:
    assert isinstance(each, pb.Transaction)
    error = f" {each.error_name}" if each.error_name else ""
    signature = each.transaction_signature or "-"
    return f"{each.updated_at.ToJsonString()} {each.action} #{each.attempt} {each.status}{error} {signature}"


def _actor_lines(actor: pb.DescribeActorResponse) -> list[str]:
    where = f"{actor.shard} pid {actor.pid}, virtual shard {actor.virtual_shard}, epoch {actor.epoch}"
    lines = [
        f"{actor.market_id} {actor.state} version {actor.version}",
        f"  {'in memory' if actor.active else 'asleep'} at {where}, {actor.mailbox} commands waiting",
        *(f"  waits for {each.kind} at {each.at.ToJsonString()} ({each.clock} clock)" for each in actor.deadlines),
    ]
    if actor.last_decision:
        when = f" at {actor.decided_at.ToJsonString()}" if actor.HasField("decided_at") else ""
        lines.append(f"  last decision{when}: {actor.last_decision}")
    if actor.HasField("in_flight"):
        lines.append(f"  under way: {_line(actor.in_flight)}")
    if actor.failures:
        lines.append(f"  failed attempts in a row: {actor.failures}")
    return lines
