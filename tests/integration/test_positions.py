"""Positions from the ledger to the table and from there to dispute votes, over real parts."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from app.wiring_events import IndexedPositions
from domain.ids import MarketId, Wallet
from domain.observed import ObservedPosition
from domain.positions import Holding, PositionRead
from storage.database import database_pool
from storage.positions import PositionTable
from tests.support.ledger import Chain, market_id
from tests.support.markets import wallet
from tests.support.reconciling import Reconciling, reconciling
from tests.support.storage import PostgresGround

BEYOND = 2**40
"""A slot that no chain of these tests reaches."""


@pytest.fixture
async def scene(chain: Chain, real_ground: PostgresGround) -> AsyncIterator[Reconciling]:
    async with reconciling(chain, real_ground) as opened:
        yield opened


async def touch(scene: Reconciling, holding: Holding, slot: int) -> None:
    statement = "INSERT INTO positions (market_id, user_pubkey, touched_slot) VALUES ($1, $2, $3)"
    await scene.ground.query(statement, *holding, slot)


async def test_a_touched_position_is_read_as_its_account_shows_it(scene: Reconciling) -> None:
    market = await scene.chain.create_market()
    await scene.activate(market)
    holding = await scene.traded(market)
    known = await scene.positions.known(*holding, 1)
    held = await scene.chain_reader.position(*holding)
    assert known is not None and held is not None
    assert known.observed == ObservedPosition(
        market=held.market,
        user=held.user,
        slot=known.slot,
        shares_yes=held.shares_yes,
        shares_no=held.shares_no,
        total_invested=held.total_invested,
        trades_count=1,
        last_trade_at_s=held.last_trade_at_s,
        has_claimed=False,
        claimed_amount=0,
    )
    assert not await scene.reader.step(), "nothing waits any more"


async def test_a_position_that_is_not_on_chain_is_all_zero_and_waits_no_more(scene: Reconciling) -> None:
    """Its trade was on a fork that is gone."""
    holding = Holding(market_id(), wallet(1))
    await touch(scene, holding, 1)
    assert await scene.reader.step()
    (row,) = await scene.rows.positions([holding])
    assert (row.shares_yes, row.trades_count, row.slot > 0) == (0, 0, True)
    assert not await scene.reader.step()


async def test_a_slot_that_never_comes_holds_nobody_up(scene: Reconciling) -> None:
    """A forged webhook may name any slot."""
    forged, real = Holding(market_id(), wallet(1)), Holding(market_id(), wallet(2))
    await touch(scene, forged, BEYOND)
    await touch(scene, real, 1)
    assert await scene.reader.step()
    assert not await scene.reader.step()
    assert [row.slot > 0 for row in await scene.rows.positions([forged, real])].count(True) == 1


class ChainOf:
    """The chain's answer, and whether it was asked."""

    def __init__(self, held: ObservedPosition | None) -> None:
        self.held = held
        self.asked: list[int] = []

    async def position(self, market_id: MarketId, wallet: Wallet, min_slot: int) -> ObservedPosition | None:
        self.asked.append(min_slot)
        return self.held


HELD = Holding(market_id(), wallet(1))
ON_CHAIN = ObservedPosition(Wallet("p" * 44), wallet(1), 99, 7, 0, 0, 1, 0, False, 0)


@pytest.mark.parametrize(
    ("row_slot", "touched_slot", "resolved_slot", "asks_chain"),
    [
        (60, 60, None, False),
        (59, 59, None, True),
        (60, 61, None, True),
        (50, 40, 50, False),
        (49, 40, 50, True),
        (None, None, 50, True),
    ],
    ids=["as new", "too old", "touched since", "after trading", "before trading ended", "no row"],
)
async def test_a_dispute_vote_weighs_by_the_table_where_it_can_say_so_and_else_by_the_chain(
    real_ground: PostgresGround,
    row_slot: int | None,
    touched_slot: int | None,
    resolved_slot: int | None,
    asks_chain: bool,
) -> None:
    """The market was seen disputed at slot 60."""
    table, chain = PositionTable(real_ground.database), ChainOf(ON_CHAIN)
    if row_slot is not None:
        await table.save([PositionRead(HELD, row_slot, Wallet("p" * 44), shares_yes=5)])
        await real_ground.query("UPDATE positions SET touched_slot = $1", touched_slot)
    if resolved_slot is not None:
        await real_ground.query(
            "INSERT INTO event_logs (transaction_signature, event_index, event_hash, block_slot, event_type, market_id,"
            " event_data, raw, commitment, timestamp)"
            " VALUES ('r', 0, '', $1, 'MarketResolved', $2, '{}', '', 'confirmed', now())",
            resolved_slot,
            HELD.market_id,
        )
    found = await IndexedPositions(table, chain).position(*HELD, 60)
    assert found is not None
    assert (found.shares_yes, chain.asked) == ((7, [60]) if asks_chain else (5, []))


async def test_without_the_database_the_chain_is_asked(unused_tcp_port: int) -> None:
    database = await database_pool(f"postgresql://nobody@127.0.0.1:{unused_tcp_port}/none", 1)
    chain = ChainOf(None)
    assert await IndexedPositions(PositionTable(database), chain).position(*HELD, 60) is None
    assert chain.asked == [60]
    await database.close()
