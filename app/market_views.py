"""Markets as an operator's terminal shows them, over gRPC."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice

import click
import grpc
from rich.console import Console
from rich.markup import escape
from rich.table import Column, Table

from app.operator_door import Door, line_of, pages
from zmart.v1 import market_pb2
from zmart.v1 import market_service_pb2 as pb
from zmart.v1.market_service_pb2_grpc import MarketServiceStub


def listed(channel: grpc.Channel, door: Door, state: str, limit: int) -> list[market_pb2.Market]:
    """Up to `limit` markets, newest first, page by page."""
    found = pages(MarketServiceStub(channel).ListMarkets, door, pb.ListMarketsRequest(state=state), limit)
    return list(islice((each for page in found for each in page.markets), limit))


def due(markets: Sequence[market_pb2.Market]) -> list[market_pb2.Market]:
    """Those that wait for a deadline, the next one first."""
    waiting = [market for market in markets if market.HasField("next_deadline")]
    return sorted(waiting, key=lambda market: (market.next_deadline.ToNanoseconds(), market.market_id))


def print_json(markets: Sequence[market_pb2.Market]) -> None:
    """One line for each."""
    for market in markets:
        click.echo(line_of(market))


def print_table(markets: Sequence[market_pb2.Market]) -> None:
    """A row for each; the id whole, for it is what the other commands take."""
    table = Table(Column("market", no_wrap=True), "state", "next deadline", "question")
    for market in markets:
        deadline = market.next_deadline.ToJsonString() if market.HasField("next_deadline") else ""
        table.add_row(market.market_id, market.state, deadline, escape(market.question))
    Console(highlight=False).print(table)
