"""`zmart markets` against a real server."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

from click.testing import CliRunner
from google.protobuf.timestamp_pb2 import Timestamp

from app.cli import main
from app.market_views import due
from identity import Tier
from tests.support.grpc_parts import Person, market_id_of, observed, served
from zmart.v1 import market_service_pb2 as pb
from zmart.v1.market_pb2 import Market
from zmart.v1.market_service_pb2_grpc import MarketServiceStub


async def test_markets_are_listed_by_state_for_people_and_for_scripts(tmp_path: Path) -> None:
    async with served() as running:
        for number in (1, 2):
            running.accounts.put(observed(number, Person().wallet))
            await MarketServiceStub(running.channel).GetMarket(pb.GetMarketRequest(market_id=market_id_of(number)))
        ((_, bearer),) = running.bearer(None, Tier.ADMIN)
        connection = {"grpc_target": running.target, "operator_token": bearer.removeprefix("Bearer ")}
        (tmp_path / "connection.json").write_text(json.dumps(connection))

        async def output(*arguments: str) -> str:
            command = ["markets", "--data-dir", str(tmp_path), *arguments]
            return (await asyncio.to_thread(CliRunner().invoke, main, command, env={"COLUMNS": "200"})).output

        rows = [json.loads(line) for line in (await output("--json", "--state", "proposed")).splitlines()]
        assert [row["market_id"] for row in rows] == [market_id_of(2), market_id_of(1)]
        assert market_id_of(1) in await output()
        assert await output("--json", "--state", "ACTIVE") == ""
        assert "X is not a state of a market" in await output("--state", "x")
        assert "only the newest 1 markets were read" in await output("--due", "--limit", "1")


def test_what_is_due_comes_by_its_deadline() -> None:
    late, soon, idle = (
        Market(market_id="a", next_deadline=Timestamp(seconds=20)),
        Market(market_id="b", next_deadline=Timestamp(seconds=10)),
        Market(market_id="c"),
    )
    assert [market.market_id for market in due([late, idle, soon])] == ["b", "a"]
