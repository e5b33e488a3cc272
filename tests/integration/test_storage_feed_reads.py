"""What was told, read from real PostgreSQL for watches: after any place, in order, with the history's name."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from domain.deadlines import ClockName, Deadline
from storage.feed_reads import FeedReads
from storage.outbox import OutboxReader
from tests.integration.test_storage_journal import save
from tests.support.markets import NOON_S, market, market_id
from tests.support.storage import PostgresGround, adopted, counted, own

DEADLINE = Deadline(NOON_S, ClockName.CHAIN)


@pytest.fixture
async def feed(real_ground: PostgresGround) -> AsyncIterator[FeedReads]:
    feed = FeedReads(real_ground.database, real_ground.database_url)
    yield feed
    await feed.close()


async def told(ground: PostgresGround, count: int) -> None:
    """Two markets, each with so many changes told."""
    journal = await ground.journal()
    epochs = await own(journal)
    for number in (1, 2):
        before = market(market_id=market_id(number))
        await save(journal, epochs, adopted(before, DEADLINE))
        for _ in range(count):
            change = counted(before, yes=1)
            await save(journal, epochs, change)
            before = change.market


async def test_what_was_told_after_a_place_comes_in_order_up_to_the_limit_of_each(
    real_ground: PostgresGround, feed: FeedReads
) -> None:
    await told(real_ground, 4)
    news = await feed.since({market_id(1): 1, market_id(2): 3, market_id(3): 0}, 2)
    assert [(change.market_id, change.seq) for change in news.changes] == [
        (market_id(1), 2),
        (market_id(1), 3),
        (market_id(2), 4),
    ]
    assert {(change.type, change.payload["likes"]) for change in news.changes} == {
        ("VOTE_UPDATE", 2),
        ("VOTE_UPDATE", 3),
        ("VOTE_UPDATE", 4),
    }
    (history,) = await real_ground.query("SELECT epoch FROM feed_epoch")
    assert news.epoch == history["epoch"]


async def test_who_has_heard_all_still_hears_which_history_it_is(real_ground: PostgresGround, feed: FeedReads) -> None:
    await told(real_ground, 1)
    before = await feed.since({market_id(1): 1}, 10)
    await real_ground.query("UPDATE feed_epoch SET epoch = 'restored'")
    after = await feed.since({market_id(1): 1}, 10)
    assert (before.changes, after.changes, after.epoch) == ((), (), "restored")
    assert before.epoch != "restored"


async def test_a_market_comes_with_its_deadline_and_its_place(real_ground: PostgresGround, feed: FeedReads) -> None:
    journal = await real_ground.journal()
    await save(journal, await own(journal), adopted(replace(market(), market_seq=7), DEADLINE))
    found = await feed.now(market_id(1))
    assert found is not None
    assert found[1:] == (replace(market(), market_seq=7), DEADLINE)
    assert await feed.now(market_id(9)) is None


async def test_pruned_changes_are_a_gap_that_shows(real_ground: PostgresGround, feed: FeedReads) -> None:
    await told(real_ground, 3)
    await real_ground.query("UPDATE feed_outbox SET published_at = now() - interval '2 hours' WHERE seq <= 2")
    await OutboxReader(real_ground.database, real_ground.database_url).prune()
    news = await feed.since({market_id(1): 0}, 10)
    assert [change.seq for change in news.changes] == [3]


async def test_an_announcement_ends_the_wait(real_ground: PostgresGround, feed: FeedReads) -> None:
    await feed.wait(0)  # connects
    await real_ground.query("NOTIFY zmart_outbox")
    await feed.wait(30)
