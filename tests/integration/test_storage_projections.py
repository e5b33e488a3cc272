"""What events come to in positions, trades and counts, on real PostgreSQL: absolute, once, and never backwards."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import asyncpg
import pytest

from domain.ids import Wallet
from domain.indexed import EventRecord, Finality, PositionTouched
from domain.positions import Holding, PositionRead, StoredPosition
from storage.positions import PositionTable
from storage.projections import Projections
from storage.queries import sql
from storage.reads import MarketReads
from tests.support.markets import market_id, wallet
from tests.support.storage import PostgresGround

U64_MAX = 2**64 - 1
NOW = 2**62
"""A slot after all of these tests'."""
PDA = Wallet("p" * 44)
HELD = Holding(market_id(1), wallet(1))


@pytest.fixture
def table(real_ground: PostgresGround) -> PositionTable:
    return PositionTable(real_ground.database)


@pytest.fixture
async def connection(real_ground: PostgresGround) -> AsyncIterator[asyncpg.Connection]:
    opened = await asyncpg.connect(real_ground.database_url)
    yield opened
    await opened.close()


class Open:
    """An open transaction as the indexer hands it out."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection

    async def fetch(self, name: str, *arguments: Any) -> Sequence[Mapping[str, Any]]:
        rows: Sequence[Mapping[str, Any]] = await self._connection.fetch(sql(name), *arguments)
        return rows


async def project(
    connection: Any, *events: EventRecord, positions: Sequence[PositionTouched] = (), dropped: bool = False
) -> None:
    """One batch, in one transaction."""
    async with connection.transaction():
        if dropped:
            await Projections().dropped(Open(connection), events)
        else:
            await Projections().project(Open(connection), events, positions)


def event(
    slot: int,
    kind: str = "SharesBought",
    holder: Holding = HELD,
    ordinal: int = 0,
    signature: str | None = None,
    **data: Any,
) -> EventRecord:
    amounts = {"outcome": True, "shares": "7", "cost": "11", "proceeds": "5", "new_price_yes": "500000000", **data}
    name = signature or f"signature-{slot}-{holder.wallet[:6]}"
    ids = (name, ordinal, "", slot, None, 1_700_000_000 + slot, kind, *holder)
    return EventRecord(*ids, amounts, b"", None, 1_700_000_000 + slot, Finality.CONFIRMED)


def read(slot: int, holder: Holding = HELD, **facts: Any) -> PositionRead:
    return PositionRead(holder, slot, PDA, **facts)


async def trades(ground: PostgresGround) -> list[tuple[Any, ...]]:
    rows = await ground.query(
        "SELECT transaction_signature, event_index, is_buy, outcome, shares::text, amount::text FROM trades"
        " ORDER BY 1, 2"
    )
    return [tuple(row) for row in rows]


async def counts(ground: PostgresGround) -> dict[tuple[str, str], int]:
    rows = await ground.query("SELECT market_id, event_type, count FROM event_counts WHERE count <> 0")
    return {(row["market_id"], row["event_type"]): row["count"] for row in rows}


async def totals(ground: PostgresGround) -> dict[str, int]:
    rows = await ground.query("SELECT event_type, sum(count)::bigint AS count FROM event_totals GROUP BY 1")
    return {row["event_type"]: row["count"] for row in rows}


async def told(ground: PostgresGround) -> list[tuple[Any, ...]]:
    rows = await ground.query("SELECT channel, seq, type, payload FROM feed_outbox ORDER BY id")
    return [(*tuple(row)[:3], json.loads(row["payload"])) for row in rows]


async def test_what_changes_a_position_is_told_to_its_wallet_once_and_numbered_without_a_gap(
    real_ground: PostgresGround, connection: Any, table: PositionTable
) -> None:
    mine, other = Holding(market_id(2), HELD.wallet), Holding(market_id(1), wallet(2))
    bought = read(8, shares_yes=U64_MAX, trades_count=1, total_invested=5)
    await table.save([bought, read(8, mine, shares_no=7, trades_count=1), read(8, other)])
    await table.save([replace(bought, slot=9)])
    await table.save([replace(bought, slot=7, shares_yes=1)])
    await table.save([read(10, shares_yes=3, trades_count=2)])
    channel = f"user_{HELD.wallet}_positions"
    found = await told(real_ground)
    assert [row[:3] for row in found] == [(channel, seq, "POSITION_UPDATE") for seq in (1, 2, 3)]
    assert [(row[3]["market_id"], row[3]["shares_yes"], row[3]["slot"]) for row in found] == [
        (market_id(1), str(U64_MAX), "8"),
        (market_id(2), "0", "8"),
        (market_id(1), "3", "10"),
    ]


async def test_readers_that_save_at_once_number_a_wallets_messages_without_a_gap(
    real_ground: PostgresGround, connection: Any, table: PositionTable
) -> None:
    holdings = [Holding(market_id(number), wallet(1 + number % 2)) for number in range(1, 9)]
    dice, at_once = random.Random(3), asyncio.Semaphore(4)
    await project(connection, *(event(1, holder=each) for each in holdings))

    async def save(slot: int) -> None:
        async with at_once:
            await table.save([read(slot, each, shares_yes=slot) for each in dice.sample(holdings, 5)])

    await asyncio.gather(*(save(slot) for slot in range(1, 25)))
    for number in (1, 2):
        seqs = [row[1] for row in await told(real_ground) if row[0] == f"user_{wallet(number)}_positions"]
        assert len(seqs) > 5 and seqs == list(range(1, len(seqs) + 1))


async def test_a_wallets_snapshot_is_what_it_holds_and_the_place_of_its_channel(
    real_ground: PostgresGround, connection: Any, table: PositionTable
) -> None:
    reads = MarketReads(real_ground.database)
    channel = f"user_{HELD.wallet}_positions"
    empty = await reads.snapshot(channel)
    assert empty is not None and (empty.seq, empty.payload) == (0, {"positions": [], "is_whole": True})
    await table.save([read(8, shares_yes=U64_MAX, trades_count=1), read(8, Holding(market_id(1), wallet(2)))])
    snapshot = await reads.snapshot(channel)
    assert snapshot is not None and snapshot.seq == 1
    (position,) = snapshot.payload["positions"]
    assert (position["market_id"], position["shares_yes"]) == (market_id(1), str(U64_MAX))


async def test_every_trade_is_a_row_two_equal_ones_and_an_empty_one_too(
    real_ground: PostgresGround, connection: Any
) -> None:
    """A purchase of nothing for nothing succeeds on chain (CI 10.6), and amounts reach 2^64 - 1."""
    big = event(2, "SharesSold", signature="b", shares=str(U64_MAX), proceeds=str(U64_MAX), outcome=False)
    empty = event(3, signature="c", shares="0", cost="0")
    await project(connection, event(1, signature="a"), event(1, signature="a", ordinal=1), big, empty)
    assert await trades(real_ground) == [
        ("a", 0, True, True, "7", "11"),
        ("a", 1, True, True, "7", "11"),
        ("b", 0, False, False, str(U64_MAX), str(U64_MAX)),
        ("c", 0, True, True, "0", "0"),
    ]


async def test_trades_and_claims_have_their_wallets_position_read_again(
    real_ground: PostgresGround, connection: Any, table: PositionTable
) -> None:
    touching = ("SharesBought", "SharesSold", "WinningsClaimed")
    others = ("ProposalVoteSubmitted", "DisputeVoteSubmitted", "MarketCreated", "LiquidityWithdrawn", "Undecodable")
    for number, kind in enumerate((*touching, *others)):
        await project(connection, event(7, kind, Holding(market_id(1), wallet(number))))
    assert sorted(await table.stale(10, NOW)) == [(Holding(market_id(1), wallet(number)), 7) for number in range(3)]
    assert await counts(real_ground) == {(market_id(1), kind): 1 for kind in (*touching, *others)}


async def test_an_event_about_no_known_market_is_counted_and_nothing_else(
    real_ground: PostgresGround, connection: Any, table: PositionTable
) -> None:
    lost = replace(event(7), market_id=None)
    await project(connection, lost, replace(lost, event_type="ConfigUpdated", wallet=None))
    assert await counts(real_ground) == {("", "SharesBought"): 1, ("", "ConfigUpdated"): 1}
    assert await totals(real_ground) == {"SharesBought": 1, "ConfigUpdated": 1}
    assert (await trades(real_ground), list(await table.stale(10, NOW))) == ([], [])


async def test_a_position_is_what_its_account_shows_and_a_read_ends_its_waiting(
    connection: Any, table: PositionTable
) -> None:
    await project(connection, event(7), event(9))
    assert await table.known(*HELD, 0) is None, "a row that was never read answers nothing"
    facts: dict[str, Any] = {
        "shares_yes": U64_MAX,
        "shares_no": 3,
        "total_invested": 5,
        "trades_count": 2,
        "last_trade_at_s": 1_700,
    }
    assert list(await table.save([read(8, **facts)])) == [HELD]
    assert list(await table.stale(10, NOW)) == [(HELD, 9)], "the read is older than the last event"
    await table.save([read(9, **facts, has_claimed=True, claimed_amount=4)])
    assert list(await table.stale(10, NOW)) == []
    facts |= {"has_claimed": True, "claimed_amount": 4}
    assert await table.known(*HELD, 9) == StoredPosition(HELD, 9, 9, **facts, pda=PDA)


async def test_an_older_read_never_overwrites_a_newer_one(connection: Any, table: PositionTable) -> None:
    reads = [read(slot, shares_yes=slot) for slot in range(1, 30)]
    random.Random(7).shuffle(reads)
    for each in reads:
        await table.save([each])
    assert list(await table.save([read(29, shares_yes=1)])) == []
    known = await table.known(*HELD, 29)
    assert known is not None and known.shares_yes == 29


async def test_a_row_answers_for_the_slot_it_was_read_at_and_no_later_one(
    connection: Any, table: PositionTable
) -> None:
    await table.save([read(50, shares_yes=7)])
    assert await table.known(*HELD, 50) is not None
    assert await table.known(*HELD, 51) is None
    assert await table.known(market_id(2), wallet(1), 1) is None, "no row says nothing"


PUT_EVENT = """
INSERT INTO event_logs (transaction_signature, event_index, event_hash, block_slot, event_type, market_id, event_data,
    raw, commitment, timestamp)
VALUES ('r', 0, '', $1, 'MarketResolved', $2, '{}', '', $3, now())
"""


async def test_a_position_read_after_trading_has_ended_answers_for_every_later_slot(
    real_ground: PostgresGround, connection: Any, table: PositionTable
) -> None:
    """Its market never returns to ACTIVE, so nothing can change it; one read before may have been traded since."""
    other = Holding(market_id(1), wallet(2))
    await table.save([read(50, shares_yes=7), read(50, other, shares_yes=9)])
    await real_ground.query(PUT_EVENT, 60, market_id(1), "confirmed")
    await project(connection, event(60, "MarketResolved", Holding(market_id(1), wallet(9))))
    assert sorted(holding for holding, _ in await table.stale(10, NOW)) == sorted([HELD, other])
    assert await table.known(*HELD, 55) is None
    await table.save([read(60, shares_yes=8)])
    known = await table.known(*HELD, 10**9)
    assert known is not None and (known.shares_yes, known.observed.slot) == (8, 60)
    assert await table.known(*other, 55) is None, "not read again yet"
    await real_ground.query("UPDATE event_logs SET commitment = 'dropped'")
    assert await table.known(*HELD, 10**9) is None, "it never ended after all"


async def test_what_a_cut_off_log_touched_is_read_again(connection: Any, table: PositionTable) -> None:
    await project(connection, positions=[PositionTouched(market_id(1), wallet(1), 12)])
    assert list(await table.stale(10, NOW)) == [(HELD, 12)]


async def test_a_dropped_trade_is_gone_and_what_was_read_of_it_is_read_again(
    real_ground: PostgresGround, connection: Any, table: PositionTable
) -> None:
    """The read on the dropped fork must not stay: only one of a later slot ends the waiting (T42)."""
    gone, stays = event(7, signature="gone"), event(6, signature="stays")
    await project(connection, gone, stays)
    await table.save([read(9, shares_yes=14)])
    await project(connection, gone, dropped=True)
    assert [row[0] for row in await trades(real_ground)] == ["stays"]
    assert await counts(real_ground) == {(market_id(1), "SharesBought"): 1}
    assert await table.known(*HELD, 1) is None
    assert list(await table.stale(10, NOW)) == [(HELD, 10)]
    await project(connection, gone)
    assert len(await trades(real_ground)) == 2, "it landed again in another slot"


async def test_a_dropped_end_of_trading_has_all_positions_read_again(connection: Any, table: PositionTable) -> None:
    other = Holding(market_id(2), wallet(1))
    await table.save([read(9), read(9, other)])
    await project(connection, event(8, "MarketResolved"), dropped=True)
    assert list(await table.stale(10, NOW)) == [(HELD, 10)]


async def test_workers_that_touch_the_same_rows_at_once_neither_block_each_other_for_ever_nor_lose_anything(
    real_ground: PostgresGround, table: PositionTable
) -> None:
    holders = [Holding(market_id(1 + n % 3), wallet(1 + n % 7)) for n in range(21)]
    batches = [
        [
            event(100 * worker + n, holder=random.Random(n * worker).choice(holders), signature=f"{worker}-{n}")
            for n in range(1, 40)
        ]
        for worker in range(1, 9)
    ]

    async def work(events: list[EventRecord]) -> None:
        connection = await asyncpg.connect(real_ground.database_url)
        try:
            for start in range(0, len(events), 10):
                await project(connection, *events[start : start + 10])
        finally:
            await connection.close()

    await asyncio.gather(*(work(events) for events in batches))
    flat = [each for events in batches for each in events]
    assert len(await trades(real_ground)) == len(flat)
    assert sum((await counts(real_ground)).values()) == len(flat)
    newest = {
        h: max(e.slot for e in flat if (e.market_id, e.wallet) == h) for h in {(e.market_id, e.wallet) for e in flat}
    }
    assert {tuple(holding): slot for holding, slot in await table.stale(100, NOW)} == newest
