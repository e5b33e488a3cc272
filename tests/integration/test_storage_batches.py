"""A batch of new votes in one statement: all of it, or nothing. Held against PostgreSQL and the in-memory twin."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import asyncpg
import pytest

from storage.outages import JournalLost
from tests.integration.test_storage_journal import save, stored, take
from tests.integration.test_storage_postgres import statements_of
from tests.support.eventually import eventually_async
from tests.support.markets import market, market_id
from tests.support.storage import Ground, PostgresGround, adopted, ballot, counted, new_id, own


async def test_a_batch_of_new_votes_goes_in_whole(ground: Ground) -> None:
    journal = await ground.journal()
    epochs = await own(journal)
    await save(journal, epochs, adopted(market()))
    change = counted(market(), yes=3)
    assert await journal.take(epochs, [ballot(n, 2) for n in range(3)], [change])
    assert (await ground.votes(), await stored(journal)) == (3, change.market)
    assert [row[:2] for row in await ground.outbox()] == [(f"market_{market_id()}", 1), (f"votes_{market_id()}", 1)]


@pytest.mark.parametrize("in_the_way", ["place", "request", "vote_id"])
async def test_one_vote_that_is_not_new_keeps_the_whole_batch_out(ground: Ground, in_the_way: str) -> None:
    journal = await ground.journal()
    epochs = await own(journal)
    await save(journal, epochs, adopted(market()))
    first = ballot(1, 2, request_id="r")
    await take(journal, epochs, first)
    second = {
        "place": ballot(1, 2),
        "request": ballot(1, 2, market_id=market_id(2), request_id="r"),
        "vote_id": ballot(2, 2, vote_id=first.vote.vote_id),
    }[in_the_way]
    assert not await journal.take(epochs, [ballot(7, 2), second], [counted(market(), yes=2)])
    assert (await ground.votes(), await stored(journal), await ground.outbox()) == (1, market(), [])


async def test_two_equal_votes_of_one_batch_keep_it_out(ground: Ground) -> None:
    journal = await ground.journal()
    epochs = await own(journal)
    await save(journal, epochs, adopted(market()))
    assert not await journal.take(epochs, [ballot(1, 2), ballot(1, 2)], [counted(market(), yes=2)])
    assert await ground.votes() == 0


async def test_a_market_that_stands_elsewhere_keeps_the_batch_out(ground: Ground) -> None:
    journal = await ground.journal()
    epochs = await own(journal)
    await save(journal, epochs, adopted(market()))
    ahead = replace(market(), version=5)
    assert not await journal.take(epochs, [ballot(1, 6)], [counted(ahead, yes=1)])
    assert (await ground.votes(), await ground.outbox()) == (0, [])


async def test_an_old_epoch_takes_nothing(ground: Ground) -> None:
    first = await ground.journal()
    old = await own(first)
    await save(first, old, adopted(market()))
    await first.close()
    await own(await ground.journal())
    frozen = await ground.journal()
    assert not await frozen.take(old, [ballot(1, 2)], [counted(market(), yes=1)])
    assert await ground.votes() == 0


async def test_changes_that_are_more_than_counts_are_left_to_a_transaction(ground: Ground) -> None:
    journal = await ground.journal()
    epochs = await own(journal)
    await save(journal, epochs, adopted(market()))
    change = counted(market(), yes=1)
    renamed = replace(change, market=replace(change.market, question="Will it?"))
    assert not await journal.take(epochs, [ballot(1, 2)], [renamed])
    assert await ground.votes() == 0


async def test_the_session_goes_on_after_a_batch_that_was_kept_out(ground: Ground) -> None:
    journal = await ground.journal()
    epochs = await own(journal)
    await save(journal, epochs, adopted(market()))
    assert not await journal.take(epochs, [ballot(1, 2), ballot(1, 2)], [counted(market(), yes=2)])
    assert await journal.take(epochs, [ballot(1, 2)], [counted(market(), yes=1)])
    assert await ground.votes() == 1


async def test_a_lost_session_takes_nothing_and_stays_lost(ground: Ground) -> None:
    journal = await ground.journal()
    epochs = await own(journal)
    await save(journal, epochs, adopted(market()))
    await ground.kill(journal)
    with pytest.raises(JournalLost):
        await journal.take(epochs, [ballot(1, 2)], [counted(market(), yes=1)])
    with pytest.raises(JournalLost):
        await journal.ping()
    assert await ground.votes() == 0


async def test_such_a_batch_is_one_statement(real_ground: PostgresGround) -> None:
    journal = await real_ground.journal()
    epochs = await own(journal)
    await save(journal, epochs, adopted(market()))
    sent = statements_of(journal)
    assert await journal.take(epochs, [ballot(n, 2, request_id=new_id()) for n in range(20)], [counted(market(), 20)])
    await journal.ping()  # what came before it has been logged now
    assert sent[0] == "take_votes"
    assert "BEGIN" not in sent


async def test_a_batch_that_waits_for_a_new_owner_sees_its_epoch_and_takes_nothing(real_ground: PostgresGround) -> None:
    journal = await real_ground.journal()
    epochs = await own(journal)
    await save(journal, epochs, adopted(market()))
    successor = await asyncpg.connect(real_ground.database_url)
    try:
        async with successor.transaction():
            await successor.execute("UPDATE virtual_shards SET epoch = epoch + 1")
            taking = asyncio.create_task(journal.take(epochs, [ballot(1, 2)], [counted(market(), yes=1)]))
            await eventually_async(lambda: _is_waiting(real_ground))
    finally:
        await successor.close()
    assert not await taking
    assert await real_ground.votes() == 0


async def _is_waiting(ground: PostgresGround) -> bool:
    return bool(await ground.query("SELECT FROM pg_locks WHERE NOT granted"))
