"""Whatever is brought, by whom, how often, in what order, and whoever dies meanwhile: the tables end up the same."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from chain.program import NEWEST_PROGRAM_ID
from domain.indexed import Finality
from indexer.arrivals import Arrival, items_of, read_item
from indexer.reading import read_arrival
from tests.support.eventually import eventually_async
from tests.support.index_child import TABLES, IndexChild
from tests.support.index_history import Past, live_through
from tests.support.indexing import Rows
from tests.support.ledger import running_chain

WORKERS = 2
"""Processes, with two workers on the inbox each."""
STATE = {
    "events": """
        SELECT transaction_signature, event_index, event_hash, block_slot, block_index, block_time, event_type,
            market_id, user_pubkey, event_data, raw, fault, commitment, timestamp
        FROM event_logs ORDER BY block_slot, block_index, event_index""",
    "transactions": """
        SELECT signature, slot, block_index, block_time, err, commitment, event_count, is_incomplete
        FROM indexed_transactions ORDER BY slot, block_index""",
    "trades": "SELECT * FROM trades ORDER BY transaction_signature, event_index",
    "positions": "SELECT market_id, user_pubkey FROM positions ORDER BY 1, 2",  # their slots depend on the order
    "counts": "SELECT * FROM event_counts ORDER BY 1, 2",
    "markets": "SELECT market_id, state, likes FROM heard_markets ORDER BY 1",
    "votes": "SELECT * FROM heard_votes ORDER BY vote_id",
    "left": """
        SELECT (SELECT count(*) FROM market_effects), (SELECT count(*) FROM wanted_transactions),
            (SELECT count(*) FROM dead_letters), (SELECT count(*) FROM webhook_inbox WHERE status <> 'done')""",
}


@dataclass
class World:
    """A chain with a past, and a database for one run over it."""

    past: Past
    rows: Rows
    children: list[IndexChild]

    async def deliver(self, bodies: list[bytes]) -> None:
        """Into the inbox, in this order."""
        for start in range(0, len(bodies), 500):
            part = bodies[start : start + 500]
            await self.rows.all(
                "INSERT INTO webhook_inbox (source, body) SELECT 'webhook', b FROM unnest($1::bytea[]) AS b", part
            )

    async def finish(self) -> dict[str, list[Any]]:
        """The state once all is read, heard and settled."""
        await eventually_async(self._is_done, timeout_s=300.0)
        return {name: await self.rows.all(query) for name, query in STATE.items()}

    async def _is_done(self) -> bool:
        assert all(child.is_alive for child in self.children), "an indexer ended by itself"
        (left,) = await self.rows.all(STATE["left"])
        young = "SELECT count(*) FROM indexed_transactions WHERE commitment <> 'finalized'"
        known = await self.rows.one("SELECT count(*) FROM indexed_transactions")
        return not any(left) and known == len(self.past.signatures) + 1 and not await self.rows.one(young)


@asynccontextmanager
async def world(
    past: Past, rpc_url: str, database_url: str, folder: Path, workers: int, hints: list[str]
) -> AsyncIterator[World]:
    """Indexers that run, and end with the block."""
    rows = Rows(database_url)
    connection = await asyncpg.connect(database_url)
    await connection.execute(TABLES)
    await connection.close()
    told = folder / f"hints-{workers}.json"
    told.write_text(json.dumps(hints))
    children = [IndexChild(database_url, rpc_url, told, folder / f"child-{workers}.log") for _ in range(workers)]
    for child in children:
        child.start()
    try:
        yield World(past, rows, children)
    finally:
        for child in children:
            child.kill()


async def compare(folder: Path, url: str, other_url: str, transactions: int, copies: int, kills: int) -> None:
    """One quiet run in order against one with copies, shuffling, all three sources, and kills."""
    dice = random.Random(transactions)
    past = await asyncio.to_thread(live_through, folder / "chain", transactions, 11)
    async with running_chain(folder / "chain") as chain:
        async with world(past, chain.ledger.rpc_url, other_url, folder, 1, []) as quiet:
            await quiet.deliver(past.bodies)
            ordered = await quiet.finish()
        hints = past.signatures * 2
        dice.shuffle(hints)
        async with world(past, chain.ledger.rpc_url, url, folder, WORKERS, hints) as loud:
            bodies = past.bodies * copies
            dice.shuffle(bodies)
            delivering = asyncio.create_task(loud.deliver(bodies))
            for _ in range(kills):
                victim = dice.choice(loud.children)
                await asyncio.sleep(dice.uniform(0.5, 1.5))
                victim.kill()
                victim.start()
            await delivering
            shuffled = await loud.finish()
    for name in STATE:
        assert shuffled[name] == ordered[name], name
    assert len(ordered["events"]) > transactions / 4
    assert len(ordered["markets"]) > 1 and ordered["votes"]
    assert ordered["trades"] or transactions < 1_000
    per_transaction = [row["event_count"] for row in ordered["transactions"]]
    assert 2 in per_transaction and 0 in per_transaction, "equal events in one transaction, and failed ones"


@pytest.mark.timeout(400)
async def test_copies_shuffled_from_three_sources_under_kills_end_as_one_ordered_run(
    tmp_path: Path, database_url: str, second_database_url: str
) -> None:
    await compare(tmp_path, database_url, second_database_url, transactions=60, copies=3, kills=1)


@pytest.mark.long
@pytest.mark.timeout(900)
async def test_two_thousand_transactions_five_times_end_as_one_ordered_run(
    tmp_path: Path, database_url: str, second_database_url: str
) -> None:
    await compare(tmp_path, database_url, second_database_url, transactions=2_000, copies=5, kills=12)


@pytest.mark.long
@pytest.mark.timeout(900)
async def test_three_thousand_signatures_that_no_webhook_brought_are_all_there_after_a_restart(
    tmp_path: Path, database_url: str
) -> None:
    past = await asyncio.to_thread(live_through, tmp_path / "chain", 3_000, 5)
    async with (
        running_chain(tmp_path / "chain") as chain,
        world(past, chain.ledger.rpc_url, database_url, tmp_path, 1, []) as alone,
    ):
        (child,) = alone.children

        async def is_under_way() -> bool:
            return bool(await alone.rows.one("SELECT count(*) > 500 FROM indexed_transactions"))

        await eventually_async(is_under_way, timeout_s=60.0)
        child.kill()
        child.start()
        state = await alone.finish()
    found = [(row["transaction_signature"], row["event_index"]) for row in state["events"]]
    assert found[1:] == events_in(past), "after GlobalConfig's own"


def events_in(past: Past) -> list[tuple[str, int]]:
    """What the webhooks would have brought, in the order of the chain."""
    arrivals = [read_item(items_of(body)[0]) for body in past.bodies]
    whole = [arrival for arrival in arrivals if isinstance(arrival, Arrival)]
    read = [read_arrival(arrival, NEWEST_PROGRAM_ID, "webhook", Finality.FINALIZED).transaction for arrival in whole]
    return [(event.signature, event.ordinal) for transaction in read for event in transaction.events]
