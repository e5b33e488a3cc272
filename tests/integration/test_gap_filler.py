"""The sweep over the program's history, which is the guarantee: whatever a node, or its own end, does to it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence

import pytest

from domain.indexed import IndexedTransaction
from indexer import filler
from indexer.recorder import Recorder
from tests.support.indexing import Bench, open_bench
from tests.support.ledger import Chain, market_id
from tests.support.rpc_calls import result


@pytest.fixture
async def bench(chain: Chain, database_url: str) -> AsyncIterator[Bench]:
    """An indexer over a new ledger and a new database."""
    async with open_bench(chain, database_url) as opened:
        yield opened


async def test_a_sweep_that_dies_goes_on_where_it_stopped_and_passes_nothing_by(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(filler, "PAGE_MAX", 3)
    monkeypatch.setattr(filler, "BATCH_MAX", 2)
    for number in range(1, 9):
        await bench.chain.create_market(number)
    bench.chain.ledger.tick(40)
    written = 0
    record = Recorder.record

    async def dying(self: Recorder, transactions: Sequence[IndexedTransaction], mark: object) -> int:
        nonlocal written
        written += 1
        if written == 3:
            raise OSError("the database is gone")
        return await record(self, transactions, mark)  # type: ignore[arg-type]

    monkeypatch.setattr(Recorder, "record", dying)
    with pytest.raises(OSError, match="gone"):
        await bench.indexer.filler.sweep()
    known = [event[3] for event in await bench.events()]
    cursor = await bench.store.cursor()
    assert cursor is not None and cursor.slot == max(known) and len(known) == 4
    await bench.indexer.filler.sweep()
    events = await bench.events()
    assert [event[7] for event in events] == [None, *(market_id(number) for number in range(1, 9))]
    assert [event[3] for event in events] == sorted(event[3] for event in events)


async def test_the_cursor_stays_below_what_is_not_final(bench: Bench) -> None:
    await bench.chain.create_market()
    finalized = bench.chain.ledger.node.bank.settled("finalized").slot
    await bench.indexer.filler.sweep()
    cursor = await bench.store.cursor()
    assert cursor is not None and cursor.slot == finalized
    assert await bench.rows.one("SELECT count(*) FROM event_logs") == 2


async def test_what_a_node_did_not_list_in_time_is_found_in_the_slots_that_are_looked_at_again(bench: Bench) -> None:
    """A node that was behind when it was asked: its answer lacked the newest, and the cursor went on all the same."""
    market = await bench.chain.create_market()
    bench.chain.ledger.tick(40)
    await bench.indexer.filler.sweep()
    cursor = await bench.store.cursor()
    slot = await bench.rows.one("SELECT block_slot FROM event_logs WHERE market_id = $1", market)
    assert cursor is not None and cursor.slot - filler.OVERLAP_SLOTS < slot < cursor.slot
    for table, column in (("event_logs", "transaction_signature"), ("indexed_transactions", "signature")):
        late = "SELECT signature FROM indexed_transactions WHERE slot = $1"
        await bench.rows.all(f"DELETE FROM {table} WHERE {column} IN ({late})", slot)  # noqa: S608
    await bench.indexer.filler.sweep()
    assert await bench.rows.one("SELECT block_slot FROM event_logs WHERE market_id = $1", market) == slot


async def test_what_the_node_lists_and_does_not_show_is_wanted_and_the_cursor_goes_on(bench: Bench) -> None:
    await bench.chain.create_market()
    await result(bench.chain, "zmart_setFault", "null_transaction", {"count": 2})
    await bench.indexer.filler.sweep()
    assert await bench.rows.one("SELECT count(*) FROM wanted_transactions") == 2
    await bench.rows.all("UPDATE wanted_transactions SET next_attempt_at = now()")
    while await bench.indexer.fetcher.step():
        pass
    assert await bench.rows.one("SELECT count(*) FROM event_logs") == 2
