"""What the chain and its messengers do to the indexer: forks, cut-off logs, nulls, poison, lies; what comes of it."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import AsyncIterator, Sequence

import pytest

from domain.commands import AdoptMarket
from domain.indexed import EventRecord, Finality, PositionTouched, WantedTransaction
from domain.lifecycle import Lifecycle
from indexer import fetcher
from indexer.effects import ATTEMPTS_MAX as EFFECT_ATTEMPTS_MAX
from indexer.ports import IndexTransaction, OpenTransaction
from indexer.worker import ATTEMPTS_MAX
from storage.dead_letters import DeadLetters
from tests.support.indexing import Bench, as_items, open_bench
from tests.support.ledger import Chain, market_id
from tests.support.rpc_calls import result
from tests.support.stage import wallet as wallet_of


class Watching:
    """A projector that remembers, and fails as often as it is told."""

    def __init__(self) -> None:
        self.seen: list[EventRecord] = []
        self.positions: list[PositionTouched] = []
        self.gone: list[EventRecord] = []
        self.failures = 0

    async def project(
        self, transaction: OpenTransaction, events: Sequence[EventRecord], positions: Sequence[PositionTouched]
    ) -> None:
        if self.failures:
            self.failures -= 1
            raise ValueError("a bug of ours")
        self.seen += events
        self.positions += positions

    async def dropped(self, transaction: OpenTransaction, events: Sequence[EventRecord]) -> None:
        self.gone += events


@pytest.fixture
def watching() -> Watching:
    return Watching()


@pytest.fixture
async def bench(chain: Chain, database_url: str, watching: Watching) -> AsyncIterator[Bench]:
    """An indexer over a new ledger and a new database."""
    async with open_bench(chain, database_url, watching) as opened:
        yield opened


async def count(bench: Bench, table: str) -> int:
    return int(await bench.rows.one(f"SELECT count(*) FROM {table}"))  # noqa: S608 - a test's own words


async def make_due(bench: Bench, table: str) -> None:
    """Let the pause of every row be over."""
    await bench.rows.all(f"UPDATE {table} SET next_attempt_at = now()")  # noqa: S608


async def aggregated(bench: Bench, times: int = 1) -> tuple[str, bytes]:
    """One transaction with so many equal events."""
    backend = bench.chain.keys.backend
    tally = bench.chain.program.aggregate_proposal_votes(backend.wallet, market_id(), 7, 3)
    signature = await bench.chain.send(await bench.chain.signed([tally] * times, backend.pair))
    bench.chain.ledger.tick()
    return str(signature), bench.body()


async def test_the_same_body_three_times_is_one_event_and_one_command(bench: Bench, watching: Watching) -> None:
    await bench.chain.create_market()
    await bench.put(*[bench.body()] * 3)
    await bench.work()
    await bench.put(bench.body())
    await bench.work()
    assert await count(bench, "event_logs") == len(watching.seen) == len(bench.markets.commands) == 1


async def test_two_equal_events_in_one_transaction_are_two_rows(bench: Bench) -> None:
    await bench.chain.create_market()
    signature, body = await aggregated(bench, times=2)
    await bench.put(body)
    await bench.work()
    rows = await bench.rows.all("SELECT transaction_signature, event_index, raw FROM event_logs ORDER BY event_index")
    assert [tuple(row)[:2] for row in rows] == [(signature, 0), (signature, 1)]
    assert rows[0]["raw"] == rows[1]["raw"]


async def test_a_failed_transaction_is_kept_without_events(bench: Bench) -> None:
    admin = bench.chain.keys.admin
    approving = bench.chain.program.approve_proposal(admin.wallet, await bench.chain.create_market())
    await bench.chain.send(await bench.chain.signed([approving], admin.pair), preflight=False)
    bench.chain.ledger.tick()
    await bench.put(bench.body())
    await bench.work()
    (row,) = await bench.rows.all("SELECT err, event_count FROM indexed_transactions")
    assert "InstructionError" in row["err"] and row["event_count"] == 0
    assert await count(bench, "event_logs") == 0


async def test_a_hint_without_a_log_is_read_from_a_node_however_often_that_says_null(bench: Bench) -> None:
    await bench.chain.create_market()
    (item,) = as_items(bench.body())
    enhanced = {"signature": item["transaction"]["signatures"][0], "slot": item["slot"], "type": "UNKNOWN"}
    await result(bench.chain, "zmart_setFault", "null_transaction", {"count": 3})
    await bench.put(json.dumps([enhanced]).encode())
    await bench.work()
    for _ in range(4):
        await make_due(bench, "wanted_transactions")
        assert await bench.indexer.fetcher.step()
    assert not await bench.indexer.fetcher.step()
    (row,) = await bench.rows.all("SELECT block_index, source FROM indexed_transactions")
    assert tuple(row) == (0, "rpc")
    assert await count(bench, "alerts") == 0


async def test_a_signature_that_no_node_ever_shows_is_reported_and_asked_for_on(bench: Bench) -> None:
    async with bench.store.transaction() as opened:
        await opened.want([WantedTransaction("5" * 88, 1, "subscription")], 0)
    await bench.rows.all("UPDATE wanted_transactions SET wanted_at = now() - interval '61 s'")
    assert await bench.indexer.fetcher.step()
    assert await bench.rows.one("SELECT alert_type FROM alerts") == "transaction_absent"
    assert await count(bench, "wanted_transactions") == 1


async def test_an_item_of_no_known_shape_is_a_dead_letter_and_holds_no_other_up(bench: Bench) -> None:
    await bench.chain.create_market()
    mixed = json.dumps([{"neither": "this"}, *as_items(bench.body()), {"nor": "that"}]).encode()
    await bench.put(mixed)
    await bench.work()
    assert await count(bench, "event_logs") == 1
    assert [letter.body for letter in await letters(bench).list()] == [mixed]
    assert await bench.rows.one("SELECT alert_type FROM alerts") == "webhook_dead_letter"


def letters(bench: Bench) -> DeadLetters:
    return DeadLetters(bench.store.database)


async def test_a_body_that_fails_ten_times_is_a_dead_letter_that_can_be_replayed(
    bench: Bench, watching: Watching
) -> None:
    await bench.chain.create_market()
    await bench.put(bench.body())
    watching.failures = ATTEMPTS_MAX
    for _ in range(ATTEMPTS_MAX + 1):
        assert await bench.indexer.worker.step()
        await make_due(bench, "webhook_inbox")
    (letter,) = await letters(bench).list()
    assert await count(bench, "event_logs") == 0, "event, effect and mark are one transaction"
    assert await bench.rows.one("SELECT status FROM webhook_inbox") == "dead"
    assert await bench.rows.one("SELECT alert_type FROM alerts") == "webhook_dead_letter"
    assert await letters(bench).replay(letter.letter_id)
    assert not await letters(bench).replay(letter.letter_id)
    await bench.work()
    assert await count(bench, "event_logs") == 1 and await letters(bench).list() == []


async def test_one_bad_body_does_not_keep_its_batch_from_being_written(bench: Bench, watching: Watching) -> None:
    await bench.chain.create_market(1)
    first = bench.body()
    await bench.chain.create_market(2)
    await bench.put(first, bench.body())
    watching.failures = 2  # the batch, then the first body alone
    assert await bench.indexer.worker.step()
    assert [event.market_id for event in watching.seen] == [market_id(2)]


async def test_what_a_dead_worker_held_comes_back(bench: Bench) -> None:
    await bench.chain.create_market()
    await bench.put(bench.body())
    assert len(await bench.store.lease_bodies(10, lease_s=0.0)) == 1
    assert len(await bench.store.lease_bodies(10, lease_s=60.0)) == 1
    assert await bench.store.lease_bodies(10, lease_s=60.0) == []
    await make_due(bench, "webhook_inbox")
    await bench.work()
    assert await count(bench, "event_logs") == 1


CREATED = hashlib.sha256(b"event:MarketCreated").digest()[:8]


@pytest.mark.parametrize(
    ("raw", "fault"),
    [(b"12345678 and more", "unknown discriminator"), (CREATED + b"\1" * 80, "wrong length")],
    ids=["unknown discriminator", "wrong length"],
)
async def test_bytes_that_are_no_event_are_kept_and_reported_once_for_each_kind(
    bench: Bench, raw: bytes, fault: str
) -> None:
    bodies = []
    for number in (1, 2):
        await bench.chain.create_market(number)
        (item,) = as_items(bench.body())
        logs = item["meta"]["logMessages"]
        spoiled = "Program data: " + base64.b64encode(raw).decode()
        item["meta"]["logMessages"] = [spoiled if line.startswith("Program data: ") else line for line in logs]
        bodies.append(json.dumps([item]).encode())
    await bench.chain.create_market(3)
    await bench.put(*bodies, bench.body())
    await bench.work()
    rows = await bench.rows.all("SELECT event_type, fault, raw FROM event_logs WHERE fault IS NOT NULL")
    assert [tuple(row) for row in rows] == [("Undecodable", fault, raw)] * 2
    assert await bench.rows.one("SELECT alert_type FROM alerts") == "undecodable_event"
    assert list(bench.markets.markets) == [market_id(3)], "the batch goes on"


async def test_a_data_line_in_a_foreign_frame_is_never_an_event_and_one_in_ours_below_it_is(bench: Bench) -> None:
    await result(bench.chain, "zmart_setFault", "foreign_frame", {"count": 1})
    await bench.chain.create_market()
    (item,) = as_items(bench.body())
    logs: list[str] = item["meta"]["logMessages"]
    assert sum("invoke [2]" in line for line in logs) == 1
    data = next(line for line in logs if line.startswith("Program data: "))
    item["meta"]["logMessages"] = [logs[0], data, *logs[1:-1], data, logs[-1]]
    await bench.put(json.dumps([item]).encode())
    await bench.work()
    assert await count(bench, "event_logs") == 1


async def test_a_log_that_is_cut_off_is_made_good_from_the_instructions(bench: Bench, watching: Watching) -> None:
    chain = bench.chain
    market = await chain.create_market()
    voter = await chain.funded()
    await result(chain, "zmart_setFault", "truncate_logs", {"count": 1})
    wallet = str(voter.pubkey())
    await chain.land(chain.program.submit_proposal_vote(wallet, market, True), voter)  # type: ignore[arg-type]
    await bench.put(bench.body())
    while await bench.indexer.worker.step():
        pass
    assert await bench.rows.one("SELECT event_type FROM event_logs") == "ProposalVoteSubmitted"
    assert await bench.rows.one("SELECT is_incomplete FROM indexed_transactions")
    effects = await bench.rows.all("SELECT kind, market_id, user_pubkey FROM market_effects ORDER BY kind")
    assert [tuple(row) for row in effects] == [("vote", market, wallet)]
    assert await bench.rows.one("SELECT alert_type FROM alerts") == "log_truncated"


async def test_a_cut_off_log_whose_calls_nobody_can_read_is_made_good_from_the_accounts(
    bench: Bench, watching: Watching
) -> None:
    chain = bench.chain
    market = await chain.create_market()
    voter = await chain.funded()
    await chain.land(chain.program.submit_proposal_vote(wallet_of(voter), market, True), voter)
    (item,) = as_items(bench.body())
    item["meta"]["logMessages"][1:] = ["Log truncated"]
    item["meta"]["innerInstructions"] = None
    await bench.put(json.dumps([item]).encode())
    while await bench.indexer.worker.step():
        pass
    assert await count(bench, "event_logs") == 0
    effects = await bench.rows.all("SELECT kind, market_id, user_pubkey FROM market_effects ORDER BY kind")
    assert [tuple(row) for row in effects] == [("observe", market, None), ("vote", market, wallet_of(voter))]


async def test_a_dropped_transaction_is_taken_back_and_its_market_looked_at_again(
    bench: Bench, watching: Watching
) -> None:
    market = await bench.chain.create_market()
    signature, body = await aggregated(bench)
    await bench.put(body)
    await bench.work()
    assert isinstance(bench.markets.commands[-1], AdoptMarket)
    assert bench.markets.commands[-1].observed.proposal_likes == 7
    slot = await bench.rows.one("SELECT block_slot FROM event_logs")
    await result(bench.chain, "zmart_setFault", "drop_slot", {"slot": slot, "count": 1})
    bench.chain.ledger.tick(70)
    while await bench.indexer.promoter.step():
        pass
    await bench.hear()
    assert await bench.rows.one("SELECT commitment FROM event_logs") == "dropped"
    assert [event.signature for event in watching.gone] == [signature]
    corrected = bench.markets.commands[-1]
    assert isinstance(corrected, AdoptMarket)
    assert (corrected.market_id, corrected.observed.proposal_likes) == (market, 0)
    assert await bench.rows.one("SELECT alert_type FROM alerts") == "transaction_dropped"
    await bench.put(body)
    await bench.work()
    assert await bench.rows.one("SELECT commitment FROM event_logs") == "confirmed", "it may land after all"
    assert len(watching.seen) == 2


async def test_a_market_that_nobody_answers_for_is_told_later_and_loses_nothing(bench: Bench) -> None:
    market = await bench.chain.create_market()
    bench.markets.away = 3
    await bench.put(bench.body())
    while await bench.indexer.worker.step():
        pass
    for _ in range(3):
        assert await bench.indexer.herald.step()
        assert await count(bench, "market_effects") == 1
        await make_due(bench, "market_effects")
    await bench.hear()
    assert bench.markets.markets[market].state is Lifecycle.PROPOSED
    assert await count(bench, "market_effects") == 0


@pytest.mark.parametrize("fault", ["broken", "bug"])
async def test_an_effect_that_fails_ten_times_is_a_dead_letter_that_can_be_replayed(bench: Bench, fault: str) -> None:
    market = await bench.chain.create_market()
    setattr(bench.markets, fault, True)
    await bench.put(bench.body())
    await bench.work()
    for _ in range(EFFECT_ATTEMPTS_MAX):
        await make_due(bench, "market_effects")
        await bench.hear()
    assert await count(bench, "market_effects") == 0
    assert await bench.rows.one("SELECT market_id FROM alerts") == market
    setattr(bench.markets, fault, False)
    (letter,) = await letters(bench).list()
    assert await letters(bench).replay(letter.letter_id)
    await bench.hear()
    assert bench.markets.markets[market].state is Lifecycle.PROPOSED


async def test_nothing_is_written_when_the_mark_fails(bench: Bench, watching: Watching) -> None:
    await bench.chain.create_market()
    await bench.put(bench.body())

    async def mark(opened: IndexTransaction) -> None:
        raise OSError("gone in between")

    (body,) = await bench.store.lease_bodies(1, 60.0)
    reader = fetcher.TransactionReader(bench.parts.history)
    (item,) = as_items(body.body)
    fetched = await reader.fetch([item["transaction"]["signatures"][0]])
    preparer = bench.indexer.fetcher._preparer
    transactions = await preparer.prepare(fetched.arrivals, "rpc", Finality.CONFIRMED)
    with pytest.raises(OSError, match="in between"):
        await bench.indexer.fetcher._recorder.record(transactions, mark)
    assert [await count(bench, table) for table in ("event_logs", "indexed_transactions", "market_effects")] == [0] * 3


async def test_a_transaction_that_meets_a_bug_stops_neither_the_sweep_nor_the_others(
    bench: Bench, watching: Watching
) -> None:
    await bench.chain.create_market()
    bench.chain.ledger.tick(40)
    watching.failures = 1
    await bench.indexer.filler.sweep()
    cursor = await bench.store.cursor()
    assert cursor is not None and cursor.slot > 40 and await count(bench, "wanted_transactions") == 2
    watching.failures = fetcher.ATTEMPTS_MAX * 3  # each time the two together, then each alone
    for _ in range(fetcher.ATTEMPTS_MAX):
        await make_due(bench, "wanted_transactions")
        assert await bench.indexer.fetcher.step()
    assert await count(bench, "wanted_transactions") == 0 and await count(bench, "event_logs") == 0
    watching.failures = 0
    for letter in await letters(bench).list():
        assert await letters(bench).replay(letter.letter_id)
    while await bench.indexer.fetcher.step():
        pass
    assert await count(bench, "event_logs") == 2
    assert await bench.rows.one("SELECT alert_type FROM alerts") == "transaction_dead_letter"
