"""What operators see of aggregations, and one that they ask for, through a real server on loopback."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from grpc import StatusCode

from domain.commands import AggregateNow
from domain.tally import VoteType
from grpc_server.ops_aggregations import ANSWER_S_MAX
from identity import Tier
from tests.support.grpc_parts import Person, Served, failure, market_id_of, observed, served
from zmart.v1 import ops_service_pb2 as pb
from zmart.v1.ops_service_pb2_grpc import OpsServiceStub

if TYPE_CHECKING:
    from zmart.v1.ops_service_pb2_grpc import OpsServiceAsyncStub  # the generated stub's type for grpc.aio

MARKET, OTHER = market_id_of(1), market_id_of(2)


@pytest.fixture
async def running() -> AsyncIterator[Served]:
    async with served() as running:
        running.accounts.accounts[MARKET] = observed(1, Person().wallet)
        yield running


def stub(running: Served) -> OpsServiceAsyncStub:
    return OpsServiceStub(running.channel)


async def test_aggregations_come_newest_first_in_pages(running: Served) -> None:
    for number in range(5):
        running.aggregations.put(MARKET, yes_votes=2**70 + number)
    admin = running.bearer(None, Tier.ADMIN)
    first = await stub(running).ListAggregations(pb.ListAggregationsRequest(page_size=3), metadata=admin)
    running.aggregations.put(MARKET)  # a new one moves no page
    request = pb.ListAggregationsRequest(page_size=3, page_token=first.next_page_token)
    second = await stub(running).ListAggregations(request, metadata=admin)
    shown = [*first.aggregations, *second.aggregations]
    assert [row.yes_votes for row in shown] == [str(2**70 + number) for number in (4, 3, 2, 1, 0)]
    assert second.next_page_token == ""
    newest = shown[0]
    assert (newest.vote_type, newest.status, newest.submitted_yes, newest.votes_size) == (
        "proposal",
        "confirmed",
        7,
        10,
    )
    assert (newest.votes_root, newest.synthetic, newest.transaction_signature) == ("ab" * 32, False, "sig")


async def test_a_vote_that_nobody_cast_and_a_skip_are_told_as_such(running: Served) -> None:
    zero = {"yes_votes": 0, "no_votes": 0, "vote_type": VoteType.DISPUTE}
    running.aggregations.put(MARKET, **zero, submitted_yes=0, submitted_no=1)
    running.aggregations.put(MARKET, **zero, submitted_yes=None, submitted_no=None, status="skipped", reason="no votes")
    admin = running.bearer(None, Tier.ADMIN)
    page = await stub(running).ListAggregations(pb.ListAggregationsRequest(), metadata=admin)
    assert [(row.synthetic, row.submitted_no, row.reason) for row in page.aggregations] == [
        (False, 0, "no votes"),
        (True, 1, ""),
    ]


async def test_aggregations_are_listed_by_market_and_by_status(running: Served) -> None:
    running.aggregations.put(MARKET)
    running.aggregations.put(OTHER, status="failed", reason="InvalidState")
    admin = running.bearer(None, Tier.ADMIN)
    for request in (pb.ListAggregationsRequest(market_id=OTHER), pb.ListAggregationsRequest(status="failed")):
        page = await stub(running).ListAggregations(request, metadata=admin)
        assert [row.market_id for row in page.aggregations] == [OTHER]
    failed = await failure(stub(running).ListAggregations(pb.ListAggregationsRequest(status="done"), metadata=admin))
    assert (failed.code, failed.info.reason) == (StatusCode.INVALID_ARGUMENT, "AGGREGATION_STATUS_UNKNOWN")


async def test_a_page_token_of_another_list_is_refused(running: Served) -> None:
    for _ in range(3):
        running.aggregations.put(MARKET)
    admin = running.bearer(None, Tier.ADMIN)
    first = await stub(running).ListAggregations(pb.ListAggregationsRequest(page_size=1), metadata=admin)
    other = pb.ListAggregationsRequest(page_size=1, page_token=first.next_page_token, status="failed")
    failed = await failure(stub(running).ListAggregations(other, metadata=admin))
    assert failed.info.reason == "PAGE_TOKEN_INVALID"


async def test_an_aggregation_now_is_answered_once_it_was_sent(running: Served) -> None:
    row = running.aggregations.put(MARKET, status="pending", transaction_signature=None)
    looks: list[int] = []

    def look() -> None:
        looks.append(1)
        if len(looks) == 3:
            running.aggregations.rows[0] = replace(row, status="submitted", transaction_signature="sig")

    running.aggregations.on_look = look
    answer = await stub(running).AggregateNow(
        pb.AggregateNowRequest(market_id=MARKET), metadata=running.bearer(None, Tier.ADMIN)
    )
    assert (answer.aggregation_id, answer.status, answer.transaction_signature) == ("a1", "submitted", "sig")
    assert running.town.commands[-1] == AggregateNow(MARKET)
    assert len(looks) == 3


async def test_an_aggregation_that_takes_long_is_answered_as_it_stands(running: Served) -> None:
    running.aggregations.put(MARKET, status="pending", transaction_signature=None)

    def look() -> None:
        running.clock.at_s += ANSWER_S_MAX

    running.aggregations.on_look = look
    answer = await stub(running).AggregateNow(
        pb.AggregateNowRequest(market_id=MARKET), metadata=running.bearer(None, Tier.ADMIN)
    )
    assert (answer.status, answer.transaction_signature) == ("pending", "")


async def test_only_operators_aggregate_and_only_markets_that_are(running: Served) -> None:
    request = pb.AggregateNowRequest(market_id=MARKET)
    failed = await failure(stub(running).AggregateNow(request, metadata=running.bearer(Person())))
    assert failed.info.reason == "TIER_TOO_LOW"
    nowhere = pb.AggregateNowRequest(market_id=OTHER)
    failed = await failure(stub(running).AggregateNow(nowhere, metadata=running.bearer(None, Tier.ADMIN)))
    assert (failed.code, failed.info.reason) == (StatusCode.NOT_FOUND, "MARKET_NOT_FOUND")
