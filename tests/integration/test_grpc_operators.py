"""What operators see of actors, shards and transactions, through a real server on loopback and in a terminal."""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner
from google.protobuf.message import Message
from grpc import StatusCode

from app.actor_views import tailed
from app.cli import main
from domain.intents import Action, Intent
from domain.shards import SILENT_S_MAX
from grpc_server import ShardUnavailable
from identity import Tier
from tests.support.grpc_parts import Person, Served, failure, market_id_of, observed, served
from zmart.v1 import market_service_pb2
from zmart.v1 import ops_service_pb2 as pb
from zmart.v1.market_service_pb2_grpc import MarketServiceStub
from zmart.v1.ops_service_pb2_grpc import OpsServiceStub

if TYPE_CHECKING:
    from zmart.v1.ops_service_pb2_grpc import OpsServiceAsyncStub  # the generated stub's type for grpc.aio

MARKET, OTHER = market_id_of(1), market_id_of(2)


@pytest.fixture
async def running() -> AsyncIterator[Served]:
    async with served() as running:
        running.accounts.accounts[MARKET] = observed(1, Person().wallet)
        await MarketServiceStub(running.channel).GetMarket(market_service_pb2.GetMarketRequest(market_id=MARKET))
        yield running


def stub(running: Served) -> OpsServiceAsyncStub:
    return OpsServiceStub(running.channel)


def admin(running: Served) -> tuple[tuple[str, str], ...]:
    return running.bearer(None, Tier.ADMIN)


async def test_an_actor_is_described_with_what_it_waits_for_and_what_is_under_way(running: Served) -> None:
    row = running.operators.put(MARKET)
    intent = Intent(row.place.transaction_id, MARKET, Action.FINALIZE, 1)
    running.town.put(replace(running.town.markets[MARKET], intent=intent, failures=2))
    actor = await stub(running).DescribeActor(pb.DescribeActorRequest(market_id=MARKET), metadata=admin(running))
    assert (actor.state, actor.version, actor.active, actor.failures) == ("PROPOSED", 1, True, 2)
    assert (actor.shard, actor.host, actor.pid, actor.epoch, actor.mailbox) == ("here/0", "here", 77, 3, 2)
    assert [(each.kind, each.clock) for each in actor.deadlines] == [("window_end", "chain")]
    assert actor.next_deadline == actor.deadlines[0].at
    assert actor.last_decision == "FireDeadline: IntentPlanned"
    assert (actor.in_flight.action, actor.in_flight.transaction_signature) == ("finalize_market", "sig1")


async def test_an_actor_that_nobody_knows_or_nobody_answers_for_is_said_to_be_so(running: Served) -> None:
    request = pb.DescribeActorRequest(market_id=OTHER)
    failed = await failure(stub(running).DescribeActor(request, metadata=admin(running)))
    assert (failed.code, failed.info.reason) == (StatusCode.NOT_FOUND, "MARKET_NOT_FOUND")
    running.operators.outage = ShardUnavailable("nobody owns it")
    failed = await failure(stub(running).DescribeActor(request, metadata=admin(running)))
    assert failed.code is StatusCode.UNAVAILABLE


async def test_shards_show_their_owner_and_a_silent_process_is_not_called_alive(running: Served) -> None:
    answer = await stub(running).ListShards(pb.ListShardsRequest(), metadata=admin(running))
    assert [(each.virtual_shard, each.pid, each.epoch) for each in answer.shards] == [(0, 77, 3), (1, 0, 0)]
    (process,) = answer.processes
    assert (process.resident_markets, process.deadlines, process.lag_seconds, process.restarts) == (12, 5, 4, 2)
    assert process.alive
    running.operators.silent_s = SILENT_S_MAX + 1
    answer = await stub(running).ListShards(pb.ListShardsRequest(), metadata=admin(running))
    assert not answer.processes[0].alive


async def test_transactions_come_newest_first_in_pages_that_new_ones_do_not_move(running: Served) -> None:
    for _ in range(5):
        running.operators.put(MARKET)
    first = await stub(running).ListTransactions(pb.ListTransactionsRequest(page_size=3), metadata=admin(running))
    running.operators.put(MARKET)
    request = pb.ListTransactionsRequest(page_size=3, page_token=first.next_page_token)
    second = await stub(running).ListTransactions(request, metadata=admin(running))
    shown = [row.transaction_signature for row in [*first.transactions, *second.transactions]]
    assert shown == ["sig5", "sig4", "sig3", "sig2", "sig1"]
    assert second.next_page_token == ""
    other = pb.ListTransactionsRequest(page_size=3, page_token=first.next_page_token, status="sent")
    failed = await failure(stub(running).ListTransactions(other, metadata=admin(running)))
    assert failed.info.reason == "PAGE_TOKEN_INVALID"


async def test_transactions_are_listed_by_market_status_and_instruction(running: Served) -> None:
    running.operators.put(MARKET)
    running.operators.put(OTHER, status="failed", action="approve_proposal")
    for wanted in ({"market_id": OTHER}, {"status": "failed"}, {"action": "approve_proposal"}):
        page = await stub(running).ListTransactions(pb.ListTransactionsRequest(**wanted), metadata=admin(running))
        assert [row.market_id for row in page.transactions] == [OTHER]


@pytest.mark.parametrize(
    ("field", "reason"), [("status", "TRANSACTION_STATUS_UNKNOWN"), ("action", "TRANSACTION_ACTION_UNKNOWN")]
)
async def test_a_word_that_no_transaction_has_is_refused(running: Served, field: str, reason: str) -> None:
    request = pb.ListTransactionsRequest(**{field: "done"})  # type: ignore[arg-type]  # one of two text fields
    failed = await failure(stub(running).ListTransactions(request, metadata=admin(running)))
    assert (failed.code, failed.info.reason) == (StatusCode.INVALID_ARGUMENT, reason)


async def test_only_operators_look_behind_the_doors(running: Served) -> None:
    wallet = running.bearer(Person())
    for call in (
        stub(running).DescribeActor(pb.DescribeActorRequest(market_id=MARKET), metadata=wallet),
        stub(running).ListShards(pb.ListShardsRequest(), metadata=wallet),
        stub(running).ListTransactions(pb.ListTransactionsRequest(), metadata=wallet),
    ):
        assert (await failure(call)).info.reason == "TIER_TOO_LOW"


async def test_the_terminal_shows_actors_shards_and_transactions(running: Served, tmp_path: Path) -> None:
    ((_, bearer),) = admin(running)
    connection = {"grpc_target": running.target, "operator_token": bearer.removeprefix("Bearer ")}
    (tmp_path / "connection.json").write_text(json.dumps(connection))
    running.operators.put(MARKET)

    async def output(*arguments: str) -> str:
        command = [*arguments, "--data-dir", str(tmp_path)]
        return (await asyncio.to_thread(CliRunner().invoke, main, command, env={"COLUMNS": "300"})).output

    assert "waits for window_end" in await output("actors", MARKET)
    assert json.loads(await output("actors", MARKET, "--json"))["last_decision"] == "FireDeadline: IntentPlanned"
    assert "no market" in (await output("actors", OTHER)).lower() or "NOT_FOUND" in await output("actors", OTHER)
    shards = await output("shards")
    assert "here/0" in shards
    assert "virtual shards without a living owner: 1" in shards
    assert len(json.loads(await output("shards", "--json"))["processes"]) == 1
    assert "sig1" in await output("transactions")
    rows = [json.loads(line) for line in (await output("transactions", "--json", "--market", MARKET)).splitlines()]
    assert [row["transaction_signature"] for row in rows] == ["sig1"]


def test_a_tail_shows_what_is_new_or_has_changed_and_nothing_twice() -> None:
    sent, landed = (pb.Transaction(transaction_id="a", status=status) for status in ("sent", "confirmed"))
    idle, busy = (pb.DescribeActorResponse(version=version) for version in (1, 2))
    looks: list[Sequence[Message]] = [(sent, idle), (sent, idle), (), (landed, busy), (landed, busy)]
    queue = iter(looks)

    def look() -> Sequence[Message]:
        return next(queue)

    shown: list[Any] = list(itertools.islice(tailed(look, lambda: None), 4))
    assert shown == [sent, idle, landed, busy]
