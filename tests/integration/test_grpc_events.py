"""Events in pages and by search, through a real server on loopback."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime

import pytest
from grpc import StatusCode

from grpc_server import BookUnavailable
from grpc_server.translate_events import LIMIT, LIMIT_MAX, OFFSET_MAX, SEARCH_LIMIT_MAX
from tests.support.grpc_events import START_S
from tests.support.grpc_parts import Served, failure, market_id_of, served
from zmart.v1 import event_service_pb2 as pb
from zmart.v1.event_service_pb2_grpc import EventServiceStub

MARKET, OTHER = market_id_of(1), market_id_of(2)


@pytest.fixture
async def running() -> AsyncIterator[Served]:
    async with served() as running:
        yield running


async def listed(running: Served, **conditions: object) -> pb.ListEventsResponse:
    request = pb.ListEventsRequest(**conditions)  # type: ignore[arg-type]
    answer = await EventServiceStub(running.channel).ListEvents(request)
    assert isinstance(answer, pb.ListEventsResponse)
    return answer


async def searched(running: Served, q: str, **more: object) -> pb.SearchEventsResponse:
    request = pb.SearchEventsRequest(q=q, **more)  # type: ignore[arg-type]
    answer = await EventServiceStub(running.channel).SearchEvents(request)
    assert isinstance(answer, pb.SearchEventsResponse)
    return answer


def instant(second: int) -> str:
    return datetime.fromtimestamp(START_S + second, UTC).isoformat()


def fill(running: Served, count: int) -> list[str]:
    """So many trades, the first of each three another market's; signatures, newest first."""
    for slot in range(count):
        market = MARKET if slot % 3 else OTHER
        running.events.put(slot, "SharesBought" if slot % 2 else "SharesSold", market, shares=str(2**60 + slot))
    return [row.place.transaction_signature for row in running.events.rows][::-1]


async def test_pages_come_newest_first_and_know_the_total(running: Served) -> None:
    signatures, found, token = fill(running, 7), list[pb.ListEventsResponse](), ""
    while token or not found:
        found.append(await listed(running, limit=3, page_token=token))
        token = found[-1].next_page_token
    assert [event.transaction_signature for page in found for event in page.events] == signatures
    assert [(page.total_count, page.has_more, bool(page.next_page_token)) for page in found] == [
        (7, True, True),
        (7, True, True),
        (7, False, False),
    ]


async def test_an_event_is_shown_with_the_names_of_the_contract(running: Served) -> None:
    running.events.put(7, "SharesBought", MARKET, shares=str(2**64 - 1), outcome=True, likes=7, none=None)
    (event,) = (await listed(running)).events
    assert (event.event_type, event.market_id, event.block_slot, event.commitment) == (
        "SharesBought",
        MARKET,
        7,
        "confirmed",
    )
    assert (event.transaction_signature, event.event_index, event.timestamp.seconds) == ("7s0", 0, START_S + 7)
    assert dict(event.event_data.items()) == {"shares": str(2**64 - 1), "outcome": True, "likes": 7.0, "none": None}


async def test_conditions_hold_together(running: Served) -> None:
    fill(running, 12)
    assert (await listed(running, market_id=MARKET)).total_count == 8
    assert (await listed(running, event_type="SharesSold")).total_count == 6
    assert (await listed(running, market_id=OTHER, event_type="SharesSold")).total_count == 2
    dated = await listed(running, from_time=instant(3), to_time=instant(6))
    assert [event.block_slot for event in dated.events] == [5, 4, 3], "the start is in it, the end is not"
    assert (await listed(running, from_time=instant(3), to_time=instant(6), market_id=OTHER)).total_count == 1


@pytest.mark.parametrize("spelling", ["2027-01-15T08:00:10Z", "2027-01-15T10:00:10.000+02:00", "2027-01-15 08:00:10z"])
async def test_one_instant_may_be_spelt_in_many_ways(running: Served, spelling: str) -> None:
    fill(running, 12)
    assert (await listed(running, from_time=spelling)).total_count == 2
    assert (await listed(running, from_time="2027-01-15", to_time="2027-01-16")).total_count == 12


async def test_an_offset_skips_on_the_first_page_only(running: Served) -> None:
    signatures = fill(running, 9)
    first = await listed(running, limit=3, offset=2)
    second = await listed(running, limit=3, offset=2, page_token=first.next_page_token)
    shown = [event.transaction_signature for event in (*first.events, *second.events)]
    assert shown == signatures[2:8]


async def test_a_page_is_not_moved_by_what_comes_meanwhile(running: Served) -> None:
    signatures = fill(running, 6)
    first = await listed(running, limit=3)
    running.events.put(99, "SharesBought", MARKET)
    second = await listed(running, limit=3, page_token=first.next_page_token)
    assert [event.transaction_signature for event in second.events] == signatures[3:]


async def test_pages_have_a_usual_and_a_largest_size(running: Served) -> None:
    fill(running, LIMIT_MAX + 1)
    for asked, given in ((0, LIMIT), (LIMIT_MAX, LIMIT_MAX), (2**31 - 1, LIMIT_MAX)):
        assert len((await listed(running, limit=asked)).events) == given
    assert len((await searched(running, "shares", limit=SEARCH_LIMIT_MAX + 1)).events) == SEARCH_LIMIT_MAX


async def test_search_finds_by_the_beginning_of_market_signature_or_type(running: Served) -> None:
    fill(running, 5)
    running.events.put(70, "MarketCreated", MARKET)
    assert [event.block_slot for event in (await searched(running, "70s")).events] == [70]
    assert (await searched(running, "marketc")).total_count == 1
    assert (await searched(running, "Shares")).total_count == 5
    assert (await searched(running, OTHER[:44])).total_count == 2
    assert (await searched(running, "zzz")).total_count == 0


async def test_search_goes_on_where_the_last_page_ended(running: Served) -> None:
    signatures = fill(running, 5)
    first = await searched(running, "sha", limit=4)
    second = await searched(running, "sha", limit=4, page_token=first.next_page_token)
    shown = [event.transaction_signature for event in (*first.events, *second.events)]
    assert (shown, first.has_more, second.has_more, first.total_count) == (signatures, True, False, 5)


@pytest.mark.parametrize(
    ("conditions", "reason", "field"),
    [
        ({"market_id": "not-a-market"}, "MARKET_ID_MALFORMED", "market_id"),
        ({"market_id": "search"}, "MARKET_ID_MALFORMED", "market_id"),
        ({"event_type": "MarketStateChanged"}, "EVENT_TYPE_UNKNOWN", "event_type"),
        ({"from_time": "yesterday"}, "TIME_MALFORMED", "from"),
        ({"from_time": "2026-02-31"}, "TIME_MALFORMED", "from"),
        ({"to_time": "0001-01-01T00:00:00+14:00"}, "TIME_MALFORMED", "to"),
        ({"to_time": "1700000000"}, "TIME_MALFORMED", "to"),
        ({"from_time": "2026-02-02", "to_time": "2026-02-02"}, "TIME_RANGE_EMPTY", "to"),
        ({"limit": -1}, "PAGE_SIZE_NEGATIVE", "limit"),
        ({"offset": -1}, "OFFSET_OUT_OF_RANGE", "offset"),
        ({"offset": OFFSET_MAX + 1}, "OFFSET_OUT_OF_RANGE", "offset"),
        ({"page_token": "made up"}, "PAGE_TOKEN_INVALID", "page_token"),
    ],
)
async def test_what_makes_no_sense_is_refused_by_name(
    running: Served, conditions: dict[str, object], reason: str, field: str
) -> None:
    failed = await failure(listed(running, **conditions))
    assert (failed.code, failed.info.reason) == (StatusCode.INVALID_ARGUMENT, reason)
    assert failed.info.metadata["field"] == field


@pytest.mark.parametrize("q", ["", "ab", "a" * 89, "50%%", "a_c", "'; --", "ünï"])
async def test_a_search_word_is_letters_and_digits(running: Served, q: str) -> None:
    failed = await failure(searched(running, q))
    assert (failed.code, failed.info.reason) == (StatusCode.INVALID_ARGUMENT, "SEARCH_WORD_MALFORMED")


async def test_a_token_fits_its_own_conditions_only(running: Served) -> None:
    fill(running, 9)
    token = (await listed(running, limit=2, market_id=MARKET)).next_page_token
    for other in ({"market_id": OTHER}, {}, {"market_id": MARKET, "from_time": "2026-01-01"}):
        failed = await failure(listed(running, page_token=token, **other))
        assert failed.info.reason == "PAGE_TOKEN_INVALID"
    assert (await failure(searched(running, "sha", page_token=token))).info.reason == "PAGE_TOKEN_INVALID"


async def test_a_database_that_is_away_is_an_outage(running: Served) -> None:
    running.events.outage = BookUnavailable("gone")
    for call in (listed(running), searched(running, "sha")):
        failed = await failure(call)
        assert (failed.code, failed.info.reason) == (StatusCode.UNAVAILABLE, "DATABASE_UNAVAILABLE")
