"""What only PostgreSQL can show of the journal: locks between sessions, round trips, notifications, lost servers."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from typing import Any

import asyncpg
import pytest

from domain.ids import MarketId, virtual_shard
from domain.intents import IntentStatus
from domain.journal import Ballot, Change
from domain.lifecycle import Lifecycle
from domain.market import Market
from storage import codec
from storage.journal import PostgresJournal
from storage.outages import JournalLost, StorageUnavailable
from storage.queries import STATEMENTS
from storage.session import SHARD_SETTINGS
from tests.integration.test_storage_journal import a_dead_pid, full_market, save, take
from tests.support.eventually import eventually_async
from tests.support.markets import market, market_id
from tests.support.storage import NOON_MS, PostgresGround, adopted, ballot, cast, counted, entry, own, planned

ROUNDS = 10


def market_of_shard(wanted: range) -> MarketId:
    return next(market_id(n) for n in range(1, 1000) if virtual_shard(market_id(n)) in wanted)


def statements_of(journal: Any) -> list[str]:
    """Names of the statements that the session sends from now on; the words themselves for those without a name."""
    names = {text: name for name, text in STATEMENTS.items()}
    sent: list[str] = []
    journal._connection.add_query_logger(lambda record: sent.append(names.get(record.query, record.query)))
    return sent


async def test_a_vote_batch_is_six_statements(real_ground: PostgresGround) -> None:
    journal = await real_ground.journal()
    epochs = await own(journal)
    await save(journal, epochs, adopted(market()))
    sent = statements_of(journal)
    async with journal.transaction(epochs) as transaction:
        await transaction.insert_ballots([ballot(n, 2) for n in range(20)])
        await transaction.save([counted(market(), yes=20)])
    await journal.ping()  # what came before it has been logged now
    assert sent[:6] == ["BEGIN", "fence", "insert_ballots", "update_counts", "save_outbox", "COMMIT"]


async def test_a_session_asks_the_catalogue_for_nothing(real_ground: PostgresGround) -> None:
    journal = await real_ground.journal()
    sent = statements_of(journal)
    epochs = await own(journal)
    mine = ballot(1, 2)
    async with journal.transaction(epochs) as transaction:
        await transaction.save([adopted(full_market_without_intent())])
        await transaction.insert_ballots([mine])
        await transaction.recorded([mine.vote])
        await transaction.standings([entry(mine)])
        await transaction.save([planned(full_market_without_intent())])
    await journal.load([market_id()])
    await journal.deadlines([1])
    await journal.settlements([1], 10)
    await journal.config()
    assert set(sent) <= {*STATEMENTS, "BEGIN", "COMMIT"}


async def test_the_session_has_its_settings(real_ground: PostgresGround) -> None:
    journal = await real_ground.journal()
    names = ["plan_cache_mode", "statement_timeout", "idle_in_transaction_session_timeout", "zmart.writer"]
    for name in names:
        assert await journal._connection.fetchval("SELECT current_setting($1)", name) == SHARD_SETTINGS[name]


async def test_two_shards_that_meet_on_the_same_requests_do_not_deadlock(real_ground: PostgresGround) -> None:
    low, high = await real_ground.journal(), await real_ground.journal()
    low_epochs = await own(low, shards=range(32))
    high_epochs = await own(high, shards=range(32, 64))
    here, there = market_of_shard(range(32)), market_of_shard(range(32, 64))
    for attempt in range(ROUNDS):
        votes = [cast(n, request_id=f"{attempt}-{n}") for n in range(40)]
        one = [Ballot(replace(v, market_id=here, wallet=v.wallet), 2, NOON_MS) for v in votes]
        other = [
            Ballot(replace(cast(n), request_id=v.request_id, market_id=there), 2, NOON_MS) for n, v in enumerate(votes)
        ]
        await asyncio.gather(take(low, low_epochs, *one), take(high, high_epochs, *reversed(other)))
        await real_ground.query("DELETE FROM vote_records WHERE request_id LIKE $1 || '%'", f"{attempt}-")
    await low.ping()
    await high.ping()


async def test_an_owner_frozen_inside_its_transaction_cannot_commit_after_its_successor(
    real_ground: PostgresGround,
) -> None:
    frozen = await real_ground.journal()
    old = await own(frozen, pid=a_dead_pid())
    successor = await real_ground.journal(acquire_timeout_s=60)
    with pytest.raises(JournalLost):
        async with frozen.transaction(old) as transaction:
            await transaction.insert_ballots([ballot(1, 2)])
            new = await own(successor)
            assert set(new.values()) == {2}
            assert await take(successor, new, ballot(1, 2, choice=False))
    rows = await real_ground.query("SELECT vote FROM vote_records")
    assert [row["vote"] for row in rows] == [False]


async def test_an_epoch_stands_still_while_a_transaction_is_fenced_by_it(real_ground: PostgresGround) -> None:
    journal = await real_ground.journal()
    epochs = await own(journal)
    await real_ground.query("SET lock_timeout = '50ms'")
    theirs = "UPDATE virtual_shards SET epoch = epoch + 1 WHERE id = $1"
    async with journal.transaction({3: epochs[3]}):
        with pytest.raises(asyncpg.LockNotAvailableError):
            await real_ground.query(theirs, 3)
        await real_ground.query(theirs, 4)
    await real_ground.query(theirs, 3)


async def test_a_new_holder_that_has_not_signed_in_yet_is_not_ended(real_ground: PostgresGround) -> None:
    dead = await real_ground.journal()
    await own(dead, pid=a_dead_pid())
    await dead.close()
    between = await asyncpg.connect(real_ground.database_url)
    try:
        await between.execute("SELECT pg_advisory_lock(77, 3)")
        with pytest.raises(StorageUnavailable, match="still held"):
            await own(await real_ground.journal(acquire_timeout_s=0.05), shards=[3])
        assert await between.fetchval("SELECT 1") == 1
    finally:
        await between.close()


async def test_a_statement_that_hangs_is_given_up(real_ground: PostgresGround) -> None:
    journal = await real_ground.journal()
    epochs = await own(journal)
    await save(journal, epochs, adopted(market()))
    await journal._connection.execute("SET statement_timeout = '1s'")
    blocker = await asyncpg.connect(real_ground.database_url)
    try:
        async with blocker.transaction():
            await blocker.execute("SELECT * FROM markets FOR UPDATE")
            with pytest.raises(JournalLost) as lost:
                await save(journal, epochs, counted(market(), yes=1))
    finally:
        await blocker.close()
    assert (lost.value.operation, lost.value.sqlstate) == ("update_counts", "57014")


async def test_an_outage_of_the_server_names_what_was_asked(unused_tcp_port: int) -> None:
    with pytest.raises(StorageUnavailable, match="connect"):
        await PostgresJournal.connect(f"postgresql://zmart:x@127.0.0.1:{unused_tcp_port}/zmart")


async def test_a_state_change_keeps_when_and_by_what_it_came(real_ground: PostgresGround) -> None:
    journal = await real_ground.journal()
    epochs = await own(journal)
    await save(journal, epochs, adopted(market()))
    sent = planned(market())
    await save(journal, epochs, sent)
    intent_id = sent.planned[0].intent_id
    await real_ground.store.mark_signed(intent_id, b"raw", "sig", "hash", 1)
    await real_ground.store.mark_confirmed(intent_id, 1, None)
    approved = replace(sent.market, version=3, state=Lifecycle.APPROVED, intent=None)
    await save(journal, epochs, Change(approved, None, is_new=False, applied=(intent_id,), before=sent.market))
    seen = "SELECT last_state_change_tx, last_action, last_state_change = updated_at AS at_once FROM markets"
    (row,) = await real_ground.query(seen)
    assert tuple(row) == ("sig", sent.planned[0].action.value, True)
    active = replace(approved, version=4, state=Lifecycle.ACTIVE)
    await save(journal, epochs, Change(active, None, is_new=False, before=approved))
    (row,) = await real_ground.query(seen)
    assert row["last_state_change_tx"] is None, "nothing of ours made this change"


async def test_an_attempt_that_changes_no_state_is_not_called_its_cause(real_ground: PostgresGround) -> None:
    journal = await real_ground.journal()
    epochs = await own(journal)
    await save(journal, epochs, adopted(market()))
    sent = planned(market())
    await save(journal, epochs, sent)
    intent_id = sent.planned[0].intent_id
    await real_ground.store.mark_signed(intent_id, b"raw", "sig", "hash", 1)
    await real_ground.store.mark_confirmed(intent_id, 1, None)
    landed = replace(sent.market, version=3, intent=None, confirmed_likes=7, confirmed_dislikes=3)
    await save(journal, epochs, Change(landed, None, is_new=False, applied=(intent_id,), before=sent.market))
    (row,) = await real_ground.query("SELECT last_state_change_tx, last_action FROM markets")
    assert tuple(row) == (None, sent.planned[0].action.value)


async def test_only_sessions_that_are_not_actors_are_told_of(real_ground: PostgresGround) -> None:
    heard: list[Any] = []
    listener = await asyncpg.connect(real_ground.database_url)
    await listener.add_listener("zmart_changed", lambda *message: heard.append(json.loads(message[3])))
    journal = await real_ground.journal()
    epochs = await own(journal)
    await save(journal, epochs, adopted(market()))
    await save(journal, epochs, counted(market(), yes=1))
    await take(journal, epochs, ballot(1, 2), ballot(2, 2))
    await real_ground.query("UPDATE markets SET question = 'by hand'")
    await real_ground.query("DELETE FROM vote_records")

    async def both() -> bool:
        return len(heard) == 2

    try:
        await eventually_async(both)
        assert heard == [{"table": table, "market_id": market_id()} for table in ("markets", "vote_records")]
    finally:
        await listener.close()


async def test_a_statement_by_hand_over_many_markets_stays_below_the_limit_of_a_payload(
    real_ground: PostgresGround,
) -> None:
    journal = await real_ground.journal()
    await save(journal, await own(journal), *(adopted(market(market_id=market_id(n))) for n in range(1, 301)))
    heard: list[str] = []
    listener = await asyncpg.connect(real_ground.database_url)
    try:
        await listener.add_listener("zmart_changed", lambda *message: heard.append(message[3]))
        await real_ground.query("UPDATE markets SET category = 'all'")

        async def all_heard() -> bool:
            return len(heard) == 300

        await eventually_async(all_heard)
    finally:
        await listener.close()
    assert max(map(len, heard)) < 200


async def test_rows_hold_the_words_of_the_contract(real_ground: PostgresGround) -> None:
    journal = await real_ground.journal()
    epochs = await own(journal)
    async with journal.transaction(epochs) as transaction:
        await transaction.save([adopted(market())])
        await transaction.insert_ballots([ballot(1, 2, choice=False, request_id="r")])
    (row,) = await real_ground.query(
        "SELECT state, approved_at, markets.created_at, vshard, vote_type, vote, weight, source, request_id"
        " FROM markets JOIN vote_records USING (market_id)"
    )
    assert (row["state"], row["approved_at"], row["vshard"]) == ("PROPOSED", None, virtual_shard(market_id()))
    assert int(row["created_at"].timestamp()) == market().created_at_s
    assert (row["vote_type"], row["vote"], row["weight"], row["source"]) == ("proposal", False, 1, "api")


@pytest.mark.parametrize(
    "rows", [[("",)], [(None,)], [("",), ("",)], [("a",), (None,), ("",)], [('{"x",',), ("NULL",)]]
)
async def test_cells_arrive_as_they_were_sent(real_ground: PostgresGround, rows: list[tuple[str | None]]) -> None:
    found = await real_ground.query("SELECT cell FROM unnest(cells($1)) AS cell", *codec.columns(rows))
    assert [tuple(row) for row in found] == rows


async def test_an_attempt_without_bytes_cannot_be_sent(real_ground: PostgresGround) -> None:
    journal = await real_ground.journal()
    epochs = await own(journal)
    await save(journal, epochs, adopted(market()))
    await save(journal, epochs, planned(market()))
    with pytest.raises(asyncpg.CheckViolationError):
        await real_ground.query("UPDATE chain_transactions SET status = $1", IntentStatus.SENT.value)


def full_market_without_intent() -> Market:
    return replace(full_market(), intent=None)
