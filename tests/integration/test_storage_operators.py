"""What shard processes say of themselves, held against PostgreSQL and the twin; and transactions in pages."""

from __future__ import annotations

import os

from alerts.vigil import SILENT_S
from domain.intents import IntentStatus
from domain.shards import ShardBeat
from domain.transactions import TransactionFilter
from storage.heartbeats import ShardBeats
from storage.operator_reads import OperatorReads
from tests.support.markets import market, market_id
from tests.support.storage import Ground, MemoryGround, PostgresGround, adopted, own, planned


def beat(resident_markets: int, pid: int | None = None) -> ShardBeat:
    return ShardBeat("here/0", "here", pid or os.getpid(), 64, resident_markets, 2, 0, 1, 0)


async def said(ground: Ground) -> list[int]:
    """Resident markets, as each place said last."""
    if isinstance(ground, MemoryGround):
        return [each.resident_markets for each in ground.database.beats.values()]
    assert isinstance(ground, PostgresGround)
    return [each.beat.resident_markets for each in await OperatorReads(ground.database).shard_processes()]


async def test_the_last_word_of_a_place_stands_and_one_that_owns_nothing_has_none(ground: Ground) -> None:
    owner, stranger = await ground.journal(), await ground.journal()
    await own(owner)
    await owner.beat(beat(3))
    await owner.beat(beat(4))
    await stranger.beat(beat(99, pid=1))
    assert await said(ground) == [4]


async def test_a_process_is_alive_while_it_speaks_and_every_virtual_shard_has_its_owner(
    real_ground: PostgresGround,
) -> None:
    journal, reads = await real_ground.journal(), OperatorReads(real_ground.database)
    assert {each.pid for each in await reads.virtual_shards()} == {0}
    epochs = await own(journal)
    await journal.beat(beat(3))
    (process,) = await reads.shard_processes()
    assert (process.beat, process.is_alive) == (beat(3), True)
    assert {(each.number, each.epoch) for each in await reads.virtual_shards()} == set(epochs.items())
    await real_ground.query("UPDATE shard_heartbeats SET beat_at = now() - interval '11 seconds'")
    (process,) = await reads.shard_processes()
    assert not process.is_alive


async def test_silence_is_told_of_owners_alone_and_of_what_nobody_ever_owned(real_ground: PostgresGround) -> None:
    beats = ShardBeats(real_ground.database)
    # given virtual shards that no process has ever owned since the migration
    await real_ground.query("UPDATE virtual_shards SET updated_at = now() - interval '40 seconds'")
    assert {name: age_s > SILENT_S for name, age_s in (await beats.ages_s()).items()} == {"unowned": True}
    # when a process owns them, speaks and does not come up again
    journal = await real_ground.journal()
    await own(journal)
    await journal.beat(beat(3))
    await real_ground.query("UPDATE shard_heartbeats SET beat_at = now() - interval '40 seconds'")
    assert {name: age_s > SILENT_S for name, age_s in (await beats.ages_s()).items()} == {
        "here/0": True,
        "unowned": False,
    }
    # then its place is forgotten once others own what it had
    await real_ground.query("UPDATE virtual_shards SET pid = pid + 1")
    assert set(await beats.ages_s()) == {"unowned"}


async def test_transactions_go_on_after_a_place_newest_first(real_ground: PostgresGround) -> None:
    journal, reads = await real_ground.journal(), OperatorReads(real_ground.database)
    epochs, ids = await own(journal), []
    for number in range(1, 6):
        before = market(market_id=market_id(number))
        change = planned(before)
        for step in (adopted(before), change):
            async with journal.transaction(epochs) as transaction:
                await transaction.save([step])
        ids.append(change.planned[0].intent_id)
    await real_ground.store.mark_failed(ids[1], "InvalidState", None)
    first = await reads.transactions(TransactionFilter(), None, 3)
    rest = await reads.transactions(TransactionFilter(), first[-1].place, 3)
    assert [row.place.transaction_id for row in [*first, *rest]] == ids[::-1]
    (failed,) = await reads.transactions(TransactionFilter(status="failed"), None, 10)
    assert (failed.error_name, failed.status, failed.updated_at > failed.planned_at) == (
        "InvalidState",
        IntentStatus.FAILED.value,
        True,
    )
    for wanted in (
        TransactionFilter(market_id=market_id(3)),
        TransactionFilter(transaction_id=ids[2], action="aggregate_proposal_votes"),
    ):
        assert [row.place.transaction_id for row in await reads.transactions(wanted, None, 10)] == [ids[2]]
    assert await reads.transactions(TransactionFilter(action="finalize_market"), None, 10) == []
