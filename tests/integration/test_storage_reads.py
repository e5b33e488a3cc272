"""Reads, the outbox and the nonces: what is not a shard's, on real PostgreSQL."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace

import pytest

from domain.deadlines import ClockName, Deadline
from domain.feed import FeedMessage, snapshot_payload
from domain.lifecycle import Lifecycle
from domain.market import Market
from storage.database import NEVER_IDLE_S, database_pool
from storage.nonces import NonceStore
from storage.outages import StorageUnavailable
from storage.outbox import OutboxReader
from storage.reads import ChannelSnapshot, MarketReads
from tests.integration.test_storage_journal import full_market, save
from tests.support.eventually import eventually_async
from tests.support.markets import NOON_S, config, market, market_id, wallet
from tests.support.storage import PostgresGround, adopted, ballot, counted, own, planned

FAR_S = 4_000_000_000
LONG_WAIT_S = 120.0


@pytest.fixture
def reads(real_ground: PostgresGround) -> MarketReads:
    return MarketReads(real_ground.database)


@pytest.fixture
def outbox(real_ground: PostgresGround) -> OutboxReader:
    return OutboxReader(real_ground.database, real_ground.database_url)


@pytest.fixture
def nonces(real_ground: PostgresGround) -> NonceStore:
    return NonceStore(real_ground.database)


# --- markets --------------------------------------------------------------------------------------------------------


async def test_a_market_is_read_with_its_deadline(real_ground: PostgresGround, reads: MarketReads) -> None:
    journal = await real_ground.journal()
    deadline = Deadline(NOON_S, ClockName.CHAIN)
    epochs = await own(journal)
    await save(journal, epochs, adopted(market(), deadline))
    assert await reads.get(market_id()) == (market(), deadline)
    assert await reads.get(market_id(2)) is None


async def test_a_market_is_read_with_its_attempt(real_ground: PostgresGround, reads: MarketReads) -> None:
    journal = await real_ground.journal()
    epochs = await own(journal)
    await save(journal, epochs, adopted(market()))
    change = planned(market())
    await save(journal, epochs, change)
    assert await reads.get(market_id()) == (change.market, None)


async def test_pages_of_markets_go_on_where_the_last_one_ended(real_ground: PostgresGround, reads: MarketReads) -> None:
    journal = await real_ground.journal()
    markets = [market(market_id=market_id(n), created_at_s=NOON_S + n // 3) for n in range(1, 11)]
    await save(journal, await own(journal), *(adopted(m) for m in markets))
    expected = sorted(((m.created_at_s, m.market_id) for m in markets), reverse=True)
    seen, after = [], None
    while page := await reads.list(None, after, 4):
        seen += [(found.created_at_s, found.market_id) for found, _ in page]
        after = seen[-1]
    assert seen == expected


async def test_markets_of_one_state_are_listed_alone(real_ground: PostgresGround, reads: MarketReads) -> None:
    journal = await real_ground.journal()
    markets = [market(market_id=market_id(n)) for n in range(1, 5)]
    markets[2] = replace(markets[2], state=Lifecycle.ACTIVE)
    await save(journal, await own(journal), *(adopted(m) for m in markets))
    assert await reads.list(Lifecycle.ACTIVE, None, 10) == [(markets[2], None)]
    assert len(await reads.list(Lifecycle.PROPOSED, None, 10)) == 3
    assert len(await reads.list(Lifecycle.PROPOSED, None, 2)) == 2


async def test_a_snapshot_carries_the_place_of_its_own_channel(real_ground: PostgresGround, reads: MarketReads) -> None:
    journal = await real_ground.journal()
    epochs = await own(journal)
    before = replace(market(), market_seq=5, votes_seq=2)
    await save(journal, epochs, adopted(before))
    change = counted(before, yes=3)
    await save(journal, epochs, change)
    (history,) = await real_ground.query("SELECT epoch FROM feed_epoch")
    for kind, seq in (("market", 6), ("votes", 3)):
        snapshot = await reads.snapshot(f"{kind}_{market_id()}")
        assert isinstance(snapshot, ChannelSnapshot)
        assert (snapshot.epoch, snapshot.seq, snapshot.market) == (history["epoch"], seq, change.market)
        assert snapshot.payload == snapshot_payload(change.market)


@pytest.mark.parametrize("channel", [f"votes_{market_id(9)}", "market_", "nonsense"])
async def test_there_is_no_snapshot_of_what_nobody_knows(
    real_ground: PostgresGround, reads: MarketReads, channel: str
) -> None:
    journal = await real_ground.journal()
    await save(journal, await own(journal), adopted(market()))
    assert await reads.snapshot(channel) is None


async def test_the_configuration_is_read_once_it_is_known(real_ground: PostgresGround, reads: MarketReads) -> None:
    assert await reads.config() is None
    await real_ground.store.save_config(config(slot=7))
    assert await reads.config() == config(slot=7)


async def test_a_database_out_of_reach_is_an_outage_and_an_os_error(unused_tcp_port: int) -> None:
    database = await database_pool(f"postgresql://zmart:x@127.0.0.1:{unused_tcp_port}/zmart", size=1)
    with pytest.raises(StorageUnavailable) as outage:
        await MarketReads(database).get(market_id())
    assert isinstance(outage.value, OSError) and outage.value.operation == "load_markets"
    await database.close()


async def test_reads_go_on_after_their_sessions_were_ended(real_ground: PostgresGround, reads: MarketReads) -> None:
    await asyncio.gather(*(reads.config() for _ in range(8)))
    ended = "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE application_name = 'zmart'"
    assert await real_ground.query(ended)

    async def answered() -> bool:
        try:
            return await reads.get(market_id()) is None
        except StorageUnavailable:
            return False

    assert await eventually_async(answered)


async def test_a_server_that_refuses_a_statement_is_an_outage_with_its_code(real_ground: PostgresGround) -> None:
    await real_ground.query("DROP TABLE chain_config")
    with pytest.raises(StorageUnavailable) as outage:
        await MarketReads(real_ground.database).config()
    assert outage.value.sqlstate == "42P01"


async def test_a_pool_that_is_closed_cuts_off_what_still_runs(real_ground: PostgresGround) -> None:
    await real_ground.query("BEGIN")
    await real_ground.query("LOCK TABLE chain_config IN ACCESS EXCLUSIVE MODE")
    database = await database_pool(real_ground.database_url, size=1, close_timeout_s=0.05)
    reading = asyncio.create_task(MarketReads(database).config())

    async def waits() -> bool:
        return bool(await real_ground.query("SELECT 1 FROM pg_locks WHERE NOT granted"))

    await eventually_async(waits)
    await database.close()
    (outcome,) = await asyncio.gather(reading, return_exceptions=True)
    assert isinstance(outcome, StorageUnavailable)
    await real_ground.query("ROLLBACK")


# --- outbox ---------------------------------------------------------------------------------------------------------


async def test_unpublished_messages_come_in_order_until_they_are_marked(
    real_ground: PostgresGround, outbox: OutboxReader
) -> None:
    journal = await real_ground.journal()
    epochs = await own(journal)
    change = adopted(full_market_now())
    await save(journal, epochs, change)
    told: list[FeedMessage] = []
    for _ in range(3):
        change = counted(change.market, yes=1)
        told += change.feed
        await save(journal, epochs, change)
    rows = await outbox.unpublished(2)
    assert [(r.channel, r.seq, r.type, json.loads(r.payload_json), r.votes_seq) for r in rows] == [
        (m.channel, m.seq, m.type, m.payload, m.votes_seq) for m in told[:2]
    ]
    assert all(row.created_at.tzinfo is not None for row in rows) and len({row.epoch for row in rows}) == 1
    for _ in range(2):
        await outbox.mark_published([row.id for row in rows])
    assert [row.seq for row in await outbox.unpublished(10)] == [m.seq for m in told[2:]]


async def test_old_published_messages_are_pruned_and_waiting_ones_are_not(
    real_ground: PostgresGround, outbox: OutboxReader
) -> None:
    journal = await real_ground.journal()
    epochs = await own(journal)
    await save(journal, epochs, adopted(market()))
    change = counted(market(), yes=1)
    await save(journal, epochs, change)
    await save(journal, epochs, counted(change.market, yes=1))
    first, second = await outbox.unpublished(10)
    await outbox.mark_published([first.id])
    assert await outbox.prune() == 0
    await real_ground.query("UPDATE feed_outbox SET published_at = published_at - interval '2 hours'")
    assert await outbox.prune() == 1
    assert await outbox.unpublished(10) == [second]


async def test_the_first_wait_returns_at_once_and_later_ones_on_news(
    real_ground: PostgresGround, outbox: OutboxReader
) -> None:
    journal = await real_ground.journal()
    await outbox.wait(LONG_WAIT_S)
    waiting = asyncio.create_task(outbox.wait(LONG_WAIT_S))
    await journal.announce_outbox()
    await asyncio.wait_for(waiting, LONG_WAIT_S / 2)
    await outbox.close()


async def test_a_batch_that_announces_ends_the_wait_with_its_commit(
    real_ground: PostgresGround, outbox: OutboxReader
) -> None:
    journal = await real_ground.journal()
    epochs = await own(journal)
    await save(journal, epochs, adopted(market()))
    await outbox.wait(LONG_WAIT_S)
    waiting = asyncio.create_task(outbox.wait(LONG_WAIT_S))
    change = counted(market(), yes=1)
    assert not await journal.take(epochs, [ballot(1, 2), ballot(1, 2)], [change], announces=True), "a batch that fails"
    assert await journal.take(epochs, [ballot(1, 2)], [change])
    assert not waiting.done(), "neither says a word"
    change = counted(change.market, yes=1)
    assert await journal.take(epochs, [ballot(2, 3)], [change], announces=True)
    await asyncio.wait_for(waiting, LONG_WAIT_S / 2)
    assert [row.seq for row in await outbox.unpublished(10)][-1] == change.feed[-1].seq, "what it told of is there"
    await outbox.close()


async def test_a_wait_without_news_ends_by_itself(outbox: OutboxReader) -> None:
    await outbox.wait(LONG_WAIT_S)
    await asyncio.wait_for(outbox.wait(0.01), LONG_WAIT_S)
    await outbox.close()


async def test_a_wait_may_be_cancelled_and_repeated(real_ground: PostgresGround, outbox: OutboxReader) -> None:
    await outbox.wait(LONG_WAIT_S)
    waiting = asyncio.create_task(outbox.wait(LONG_WAIT_S))
    await outbox.unpublished(1)
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    assert waiting.cancelled()
    await (await real_ground.journal()).announce_outbox()
    await asyncio.wait_for(outbox.wait(LONG_WAIT_S), LONG_WAIT_S / 2)
    await outbox.close()


async def test_a_lost_listener_is_noticed_and_replaced(real_ground: PostgresGround, outbox: OutboxReader) -> None:
    await outbox.wait(LONG_WAIT_S)
    waiting = asyncio.create_task(outbox.wait(LONG_WAIT_S))
    ended = "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE application_name = 'zmart-notifier'"
    assert len(await real_ground.query(ended)) == 1
    await asyncio.wait_for(waiting, LONG_WAIT_S / 2)
    await outbox.wait(LONG_WAIT_S)  # connects again
    waiting = asyncio.create_task(outbox.wait(LONG_WAIT_S))
    await (await real_ground.journal()).announce_outbox()
    await asyncio.wait_for(waiting, LONG_WAIT_S / 2)
    await outbox.close()


async def test_a_wait_without_a_server_is_an_outage(unused_tcp_port: int) -> None:
    url = f"postgresql://zmart:x@127.0.0.1:{unused_tcp_port}/zmart"
    database = await database_pool(url, size=1)
    with pytest.raises(OSError, match="listen"):
        await OutboxReader(database, url).wait(LONG_WAIT_S)
    await database.close()


# --- connections ----------------------------------------------------------------------------------------------------


async def test_connections_are_open_before_anybody_asks(database_url: str, real_ground: PostgresGround) -> None:
    database = await database_pool(database_url, 3, "warmed", idle_s=NEVER_IDLE_S)
    await database.warm(3)
    rows = await real_ground.query("SELECT pid FROM pg_stat_activity WHERE application_name = 'warmed'")
    assert len(rows) == 3
    await database.close()


async def test_what_cannot_be_opened_ahead_is_no_failure_until_it_is_needed(unused_tcp_port: int) -> None:
    database = await database_pool(f"postgresql://zmart:x@127.0.0.1:{unused_tcp_port}/zmart", size=2)
    await database.warm(2)
    with pytest.raises(StorageUnavailable):
        await database.fetch("ping")
    await database.close()


# --- nonces ---------------------------------------------------------------------------------------------------------


async def test_a_nonce_is_taken_once(nonces: NonceStore) -> None:
    await nonces.put("n", wallet(1), "sign this", FAR_S)
    taken = await asyncio.gather(*(nonces.take("n", wallet(1)) for _ in range(20)))
    assert sorted(message for message in taken if message) == ["sign this"]


async def test_another_address_leaves_a_nonce_to_its_owner(nonces: NonceStore) -> None:
    await nonces.put("n", wallet(1), "sign this", FAR_S)
    assert await nonces.take("n", wallet(2)) is None
    assert await nonces.take("n", wallet(1)) == "sign this"


async def test_an_expired_nonce_is_worth_nothing(nonces: NonceStore) -> None:
    await nonces.put("n", wallet(1), "sign this", NOON_S - FAR_S // 4)
    assert await nonces.take("n", wallet(1)) is None


async def test_new_challenges_clear_away_expired_ones_a_few_at_a_time(
    real_ground: PostgresGround, nonces: NonceStore
) -> None:
    for n in range(15):
        await real_ground.query(
            "INSERT INTO auth_nonces VALUES ($1, 'a', 'm', now() - make_interval(secs => 60))", f"old-{n}"
        )
    counts = []
    for n in range(2):
        await nonces.put(f"new-{n}", wallet(1), "sign this", FAR_S)
        (row,) = await real_ground.query("SELECT count(*) FROM auth_nonces")
        counts.append(row["count"])
    assert counts == [6, 2]


def full_market_now() -> Market:
    return replace(full_market(), intent=None)
