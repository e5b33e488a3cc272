"""Stored events as they are listed, found and counted, on real PostgreSQL; and what that costs among many."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from domain.event_listing import NEWEST_PLACE, EventFilter, EventMatch, EventPlace, IndexedEvent
from domain.ids import MarketId
from storage.event_reads import COUNTED_MAX, EventReads
from tests.support.event_rows import BASE_S, BIG_MARKET, EVENTS_A_SECOND, Plan, fill, plan_of
from tests.support.markets import market_id
from tests.support.storage import PostgresGround

START = datetime(2026, 11, 1, tzinfo=UTC)
PUT = """
INSERT INTO event_logs (
    transaction_signature, event_index, event_hash, block_slot, block_index, event_type, market_id, event_data, raw,
    commitment, timestamp
) VALUES ($1, $2, '', $3, $4, $5, $6, '{"shares": "7"}', '', $7, $8)
"""


@pytest.fixture
def reads(real_ground: PostgresGround) -> EventReads:
    return EventReads(real_ground.database)


async def put(
    ground: PostgresGround,
    slot: int,
    signature: str,
    index: int = 0,
    block_index: int | None = 0,
    kind: str = "SharesBought",
    market: MarketId | None = None,
    commitment: str = "confirmed",
) -> None:
    """One event, counted as the projector counts it; a second later with every slot."""
    at = START + timedelta(seconds=slot)
    await ground.query(PUT, signature, index, slot, block_index, kind, market, commitment, at)
    if commitment != "dropped":
        count = "INSERT INTO event_counts AS c VALUES ($1, $2, 1) ON CONFLICT (market_id, event_type)"
        await ground.query(f"{count} DO UPDATE SET count = c.count + 1", market or "", kind)


async def pages(reads: EventReads, wanted: EventFilter, size: int) -> list[list[IndexedEvent]]:
    found, after = list[list[IndexedEvent]](), None
    while page := list(await reads.list(wanted, after, size)):
        found.append(page)
        after = page[-1].place
    return found


def names(events: Any) -> list[tuple[str, int]]:
    return [(event.place.transaction_signature, event.place.event_index) for event in events]


async def test_events_go_by_slot_then_place_in_the_block_then_ordinal(
    real_ground: PostgresGround, reads: EventReads
) -> None:
    """Signatures sort the other way round, and one transaction's place in its block is not known."""
    for slot, signature, index, block_index in (
        (5, "c", 1, 0),
        (5, "a", 0, 2),
        (4, "z", 0, 9),
        (5, "c", 0, 0),
        (5, "m", 0, None),
        (6, "b", 0, 1),
    ):
        await put(real_ground, slot, signature, index, block_index)
    wanted = [("b", 0), ("a", 0), ("c", 1), ("c", 0), ("m", 0), ("z", 0)]
    for size in (1, 2, 6):
        found = await pages(reads, EventFilter(), size)
        assert names(event for page in found for event in page) == wanted
    assert names(await reads.list(EventFilter(), None, 2, offset=3)) == wanted[3:5]


async def test_an_event_is_listed_with_everything_that_was_stored(
    real_ground: PostgresGround, reads: EventReads
) -> None:
    await put(real_ground, 2**33, "s", 3, None, "SharesSold", market_id(1))
    (event,) = await reads.list(EventFilter(), None, 10)
    place = EventPlace(2**33, -1, "s", 3)
    at = START + timedelta(seconds=2**33)
    assert event == IndexedEvent(place, "SharesSold", market_id(1), None, {"shares": "7"}, at, "confirmed")


async def test_conditions_hold_together_and_are_counted(real_ground: PostgresGround, reads: EventReads) -> None:
    for slot in range(24):
        kind = "SharesSold" if slot % 2 else "SharesBought"
        await put(real_ground, slot, f"s{slot}", kind=kind, market=market_id(1 + slot % 3))
    for wanted, slots in (
        (EventFilter(market_id=market_id(2)), range(1, 24, 3)),
        (EventFilter(event_type="SharesSold"), range(1, 24, 2)),
        (EventFilter(market_id=market_id(1), event_type="SharesSold"), range(3, 24, 6)),
        (EventFilter(since=START + timedelta(seconds=5)), range(5, 24)),
        (EventFilter(until=START + timedelta(seconds=5)), range(5)),
        (EventFilter(market_id(3), None, START + timedelta(seconds=5), START + timedelta(seconds=11)), (5, 8)),
        (EventFilter(market_id=market_id(9)), ()),
        (EventFilter(since=START + timedelta(days=1)), ()),
        (EventFilter(until=START - timedelta(days=1)), ()),
    ):
        found = [event for page in await pages(reads, wanted, 4) for event in page]
        assert [event.place.block_slot for event in found] == sorted(slots, reverse=True)
        assert await reads.count(wanted) == len(found)


async def test_a_dropped_event_is_neither_listed_nor_found(real_ground: PostgresGround, reads: EventReads) -> None:
    await put(real_ground, 5, "gone", market=market_id(1), commitment="dropped")
    await put(real_ground, 6, "gold", market=market_id(1))
    assert names(await reads.list(EventFilter(), None, 10)) == [("gold", 0)]
    assert names(await reads.search(EventMatch("go", ("SharesBought",)), None, 10)) == [("gold", 0)]
    assert await reads.count(EventFilter(since=START)) == 1


async def test_search_finds_market_signature_and_type_each_event_once(
    real_ground: PostgresGround, reads: EventReads
) -> None:
    twin = MarketId("Shared" + "1" * 38)
    await put(real_ground, 1, "Shame", market=twin)
    await put(real_ground, 2, "other", kind="SharesSold", market=market_id(2))
    await put(real_ground, 3, "Shark", kind="MarketCreated", market=market_id(2))
    await put(real_ground, 4, "Sand", kind="MarketCreated", market=market_id(2))
    match = EventMatch("Sha", ("SharesBought", "SharesSold"))
    assert names(await reads.search(match, None, 10)) == [("Shark", 0), ("other", 0), ("Shame", 0)]
    assert await reads.count_found(match) == 3
    (second,) = await reads.search(match, EventPlace(3, 0, "Shark", 0), 1)
    assert names([second]) == [("other", 0)]
    assert names(await reads.search(EventMatch("sha", ()), None, 10)) == [], "base58 knows capitals"


@pytest.fixture(params=[50_000, pytest.param(1_000_000, marks=[pytest.mark.long, pytest.mark.timeout(600)])])
async def many(request: pytest.FixtureRequest, real_ground: PostgresGround) -> AsyncIterator[int]:
    """So many events stand in the database."""
    await fill(real_ground, request.param)
    yield request.param


async def listing(ground: PostgresGround, place: EventPlace, *conditions: Any) -> Plan:
    """The plan of a page of 100 somewhere in the middle."""
    return await plan_of(ground, "list_events", *place, *conditions, 101, 0)


@pytest.mark.usefixtures("many")
async def test_any_page_walks_an_index_and_reads_little_more_than_its_rows(
    real_ground: PostgresGround, many: int
) -> None:
    """Plans and pages of 8 KiB, not time: 101 rows in at most 350, wherever the page is and whatever is asked for."""
    middle = EventPlace(many // 40, 3, "m", 0)
    at = datetime.fromtimestamp(BASE_S + many // EVENTS_A_SECOND // 2, UTC)
    for place in (NEWEST_PLACE, middle, EventPlace(2, 0, "m", 0)):
        for conditions, index in (
            ((None, None, None, None, None), "event_logs_order"),
            ((BIG_MARKET, None, None, None, None), None),
            ((BIG_MARKET, "MarketCreated", None, None, None), "event_logs_market_type"),
            ((None, "MarketCreated", None, None, None), "event_logs_type"),
            ((BIG_MARKET, "SharesSold", None, None, None), None),
            ((None, None, at, None, many // 40), "event_logs_order"),
        ):
            plan = await listing(real_ground, place, *conditions)
            assert not plan.scans_a_table, (conditions, plan.text)
            assert plan.indexes if index is None or place != NEWEST_PLACE else plan.indexes == {index}, plan.text
            assert plan.pages <= 350, (conditions, place, plan.text)


@pytest.mark.usefixtures("many")
async def test_counting_and_finding_never_read_a_table_through(
    real_ground: PostgresGround, reads: EventReads, many: int
) -> None:
    since = datetime.fromtimestamp(BASE_S, UTC)
    until = datetime.fromtimestamp(BASE_S + many, UTC)
    assert await reads.count(EventFilter()) == many
    everything = await plan_of(real_ground, "count_listed_events", None, None)
    assert "event_counts" not in everything.text.replace('"Relation Name": "event_counts"', "")
    assert everything.pages < 20, "the totals of a few types, whatever number of markets there are"
    assert await reads.count(EventFilter(market_id=BIG_MARKET)) == (many + 2) // 3
    assert await reads.count(EventFilter(since=since, until=until)) == COUNTED_MAX + 1
    bounds = await plan_of(real_ground, "slots_between", since, until)
    assert (bounds.scans_a_table, bounds.indexes) == (False, {"event_logs_time"})
    assert bounds.pages <= 20
    types = ["SharesBought", "SharesSold"]
    (signature,) = await real_ground.query("SELECT transaction_signature FROM event_logs LIMIT 1")
    search = await plan_of(real_ground, "search_events", *NEWEST_PLACE, [BIG_MARKET], types, signature[0][:8], 21)
    assert not search.scans_a_table and search.pages <= 500, search.text
    assert "event_logs_once" in search.indexes
    count = await plan_of(real_ground, "count_found_events", [BIG_MARKET], types, signature[0][:8])
    assert "event_logs_once" in count.indexes and '"Relation Name": "event_logs",' in count.text


async def test_searching_a_rare_type_walks_its_own_index(real_ground: PostgresGround, many: int) -> None:
    """One event in 1,000 is of this type: walking all of them down to 101 of it read a hundred times as much."""
    for place in (NEWEST_PLACE, EventPlace(many // 40, 3, "m", 0)):
        plan = await plan_of(real_ground, "search_events", *place, [], ["MarketCreated"], "marketc", 101)
        assert not plan.scans_a_table
        assert "event_logs_type" in plan.indexes and "event_logs_order" not in plan.indexes, plan.text
        assert plan.pages <= 700, plan.text


async def test_searching_a_small_market_walks_its_own_index(
    real_ground: PostgresGround, reads: EventReads, many: int
) -> None:
    (row,) = await real_ground.query(
        "SELECT market_id, count(*) AS count FROM event_logs WHERE market_id <> $1 GROUP BY 1 ORDER BY 2, 1 LIMIT 1",
        BIG_MARKET,
    )
    plan = await plan_of(real_ground, "search_events", *NEWEST_PLACE, [row["market_id"]], [], row["market_id"], 101)
    assert "event_logs_order" not in plan.indexes and plan.pages <= 700, plan.text
    found = await reads.search(EventMatch(row["market_id"], ()), None, 1_000)
    assert {event.market_id for event in found} == {row["market_id"]} and len(found) == row["count"] < many
