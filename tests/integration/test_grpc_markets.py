"""Markets through a real server on loopback: read, list, describe."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

import pytest
from google.rpc import error_details_pb2 as details
from grpc import StatusCode

from domain.lifecycle import Lifecycle
from identity import Tier
from tests.support.grpc_parts import (
    NEXT_DEADLINE,
    SERVICE_KEY,
    START_S,
    Person,
    Served,
    failure,
    market_id_of,
    observed,
    served,
)
from zmart.v1 import market_service_pb2 as pb
from zmart.v1.market_service_pb2_grpc import MarketServiceStub

if TYPE_CHECKING:
    from zmart.v1.market_service_pb2_grpc import MarketServiceAsyncStub  # the generated stub's type for grpc.aio


@pytest.fixture
async def running() -> AsyncIterator[Served]:
    async with served() as running:
        yield running


@pytest.fixture
def creator() -> Person:
    return Person()


async def filled(running: Served, creator: Person, count: int) -> MarketServiceAsyncStub:
    """Markets 1 to count, every third of them ACTIVE."""
    stub = MarketServiceStub(running.channel)
    for number in range(1, count + 1):
        state = Lifecycle.ACTIVE if number % 3 == 0 else Lifecycle.PROPOSED
        running.accounts.put(observed(number, creator.wallet, state))
        await stub.GetMarket(pb.GetMarketRequest(market_id=market_id_of(number)))
    return stub


async def test_a_market_that_is_only_on_chain_is_taken_in_by_the_first_read(running: Served, creator: Person) -> None:
    running.accounts.put(observed(1, creator.wallet))
    market = await MarketServiceStub(running.channel).GetMarket(pb.GetMarketRequest(market_id=market_id_of(1)))
    assert (market.market_id, market.creator, market.state) == (market_id_of(1), creator.wallet, "PROPOSED")
    assert (market.version, market.created_at.seconds) == (1, START_S + 1)
    assert market.next_deadline.seconds == NEXT_DEADLINE.at_s
    assert not market.HasField("finalized_at")


async def test_all_spellings_of_a_market_id_find_it(running: Served, creator: Person) -> None:
    stub = await filled(running, creator, 1)
    found = await stub.GetMarket(pb.GetMarketRequest(market_id=(1).to_bytes(32, "big").hex()))
    assert found.market_id == market_id_of(1)


async def test_the_address_of_an_account_is_not_a_market_id(running: Served, creator: Person) -> None:
    stub = await filled(running, creator, 1)
    pda = (await stub.GetMarket(pb.GetMarketRequest(market_id=market_id_of(1)))).pda
    failed = await failure(stub.GetMarket(pb.GetMarketRequest(market_id=pda)))
    assert (failed.code, failed.info.reason) == (StatusCode.NOT_FOUND, "MARKET_NOT_FOUND")
    assert failed.detail(details.ResourceInfo).resource_type == "zmart.v1.Market"


async def test_pages_hold_every_market_once_newest_first_whatever_comes_in_between(
    running: Served, creator: Person
) -> None:
    stub = await filled(running, creator, 7)
    seen, token = [], ""
    for _ in range(3):
        page = await stub.ListMarkets(pb.ListMarketsRequest(page_size=3, page_token=token))
        seen += [market.market_id for market in page.markets]
        token = page.next_page_token
        running.accounts.put(observed(50 + len(seen), creator.wallet))
        await stub.GetMarket(pb.GetMarketRequest(market_id=market_id_of(50 + len(seen))))
    assert token == ""
    assert seen == [market_id_of(number) for number in range(7, 0, -1)]


async def test_a_full_last_page_has_no_next_one(running: Served, creator: Person) -> None:
    stub = await filled(running, creator, 4)
    page = await stub.ListMarkets(pb.ListMarketsRequest(page_size=4))
    assert (len(page.markets), page.next_page_token) == (4, "")


async def test_a_list_of_one_state_has_only_that_state(running: Served, creator: Person) -> None:
    stub = await filled(running, creator, 7)
    page = await stub.ListMarkets(pb.ListMarketsRequest(state="ACTIVE"))
    assert [market.market_id for market in page.markets] == [market_id_of(6), market_id_of(3)]


async def test_a_page_token_is_bound_to_its_conditions_and_cannot_be_made_up(running: Served, creator: Person) -> None:
    stub = await filled(running, creator, 7)
    token = (await stub.ListMarkets(pb.ListMarketsRequest(page_size=1))).next_page_token
    raw = bytearray(base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)))
    raw[-3] ^= 1
    tampered = base64.urlsafe_b64encode(raw).decode().rstrip("=")
    for request in (
        pb.ListMarketsRequest(page_token=token, state="ACTIVE"),
        pb.ListMarketsRequest(page_token=tampered),
        pb.ListMarketsRequest(page_token=token[:-4]),
        pb.ListMarketsRequest(page_token="offset=10"),
    ):
        failed = await failure(stub.ListMarkets(request))
        assert (failed.code, failed.info.reason) == (StatusCode.INVALID_ARGUMENT, "PAGE_TOKEN_INVALID")
    running.clock.at_s += 3 * 24 * 3600
    assert (
        await failure(stub.ListMarkets(pb.ListMarketsRequest(page_token=token)))
    ).info.reason == "PAGE_TOKEN_INVALID"


async def test_a_page_size_is_capped_in_silence_and_never_negative(running: Served, creator: Person) -> None:
    stub = await filled(running, creator, 2)
    assert len((await stub.ListMarkets(pb.ListMarketsRequest(page_size=2**31 - 1))).markets) == 2
    failed = await failure(stub.ListMarkets(pb.ListMarketsRequest(page_size=-1)))
    assert (failed.code, failed.info.reason) == (StatusCode.INVALID_ARGUMENT, "PAGE_SIZE_NEGATIVE")
    failed = await failure(stub.ListMarkets(pb.ListMarketsRequest(state="OPEN")))
    assert failed.info.reason == "STATE_UNKNOWN"


def described(question: str = "Will it rain?") -> pb.RegisterMarketRequest:
    return pb.RegisterMarketRequest(market_id=market_id_of(1), question=question, category="weather")


async def test_the_creator_describes_a_market_and_doing_it_again_changes_nothing(
    running: Served, creator: Person
) -> None:
    running.accounts.put(observed(1, creator.wallet))
    stub = MarketServiceStub(running.channel)
    first = await stub.RegisterMarket(described(), metadata=running.bearer(creator))
    assert (first.market.question, first.market.category) == ("Will it rain?", "weather")
    again = await stub.RegisterMarket(described(), metadata=running.bearer(creator))
    assert again == first


async def test_the_operator_describes_any_market(running: Served, creator: Person) -> None:
    running.accounts.put(observed(1, creator.wallet))
    stub = MarketServiceStub(running.channel)
    answer = await stub.RegisterMarket(described(), metadata=running.bearer(None, Tier.ADMIN))
    assert answer.market.question == "Will it rain?"


async def test_other_wallets_and_services_do_not(running: Served, creator: Person) -> None:
    stub = await filled(running, creator, 1)
    for metadata in (running.bearer(Person()), (("x-service-key", SERVICE_KEY),)):
        failed = await failure(stub.RegisterMarket(described(), metadata=metadata))
        assert (failed.code, failed.info.reason) == (StatusCode.PERMISSION_DENIED, "NOT_THE_CREATOR")
    failed = await failure(stub.RegisterMarket(described()))
    assert (failed.code, failed.info.reason) == (StatusCode.UNAUTHENTICATED, "TOKEN_MISSING")
    assert (await stub.GetMarket(pb.GetMarketRequest(market_id=market_id_of(1)))).question == ""


async def test_a_market_that_is_not_on_chain_cannot_be_described(running: Served, creator: Person) -> None:
    stub = MarketServiceStub(running.channel)
    failed = await failure(stub.RegisterMarket(described(), metadata=running.bearer(creator)))
    assert (failed.code, failed.info.reason) == (StatusCode.NOT_FOUND, "MARKET_NOT_FOUND")


async def test_a_malformed_description_is_an_invalid_argument(running: Served, creator: Person) -> None:
    stub = MarketServiceStub(running.channel)
    failed = await failure(stub.RegisterMarket(described("\0"), metadata=running.bearer(creator)))
    assert (failed.code, failed.info.reason) == (StatusCode.INVALID_ARGUMENT, "TEXT_NOT_PRINTABLE")
