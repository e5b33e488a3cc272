"""The program's history, read from a slot on by the real command: all of it once, also when it is killed."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import sys
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

import asyncpg
import pytest

from app.backfill import backfill
from app.config import Settings
from storage.database import database_pool
from tests.support.eventually import eventually_async
from tests.support.indexing import Rows
from tests.support.ledger import Chain, market_id

TALLIES = 250
BATCH = 100
WAITING = """
SELECT count(*) FROM pg_locks WHERE relation = 'event_logs'::regclass AND NOT granted AND pid <> $1
    AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
"""


async def written(chain: Chain, count: int = TALLIES) -> None:
    """One market and so many tallies of it, in one slot after the other."""
    await chain.create_market()
    backend = chain.keys.backend
    for number in range(count):
        call = chain.program.aggregate_proposal_votes(backend.wallet, market_id(), number, 1)
        await chain.send(await chain.signed([call], backend.pair))
        if number % 50 == 49:
            chain.ledger.tick()
    for _ in range(34):
        chain.ledger.tick()


def environment(chain: Chain, database_url: str, folder: Path) -> Mapping[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("ZMART_")}
    return kept | {
        "ZMART_DATABASE_URL": database_url,
        "ZMART_SOLANA_RPC_URL": chain.ledger.rpc_url,
        "ZMART_DATA_DIR": str(folder),
    }


async def started(env: Mapping[str, str], from_slot: int) -> asyncio.subprocess.Process:
    arguments = ("-m", "app", "index", "backfill", "--from-slot", str(from_slot))
    pipe, same = asyncio.subprocess.PIPE, asyncio.subprocess.STDOUT
    return await asyncio.create_subprocess_exec(sys.executable, *arguments, env=env, stdout=pipe, stderr=same)


class Gate:
    """Lets a backfill write one batch after the other: two sessions take turns in a lock that its writes wait for."""

    def __init__(self, holder: asyncpg.Connection, other: asyncpg.Connection, rows: Rows) -> None:
        self._holder, self._other, self._rows = holder, other, rows

    async def close(self) -> None:
        await self._shut(self._holder)

    async def let_one_in(self) -> None:
        """Return with one batch written, and the next one waiting."""
        await eventually_async(self._somebody_waits)
        shutting = asyncio.create_task(self._shut(self._other))
        await eventually_async(self._both_wait)
        await self._holder.execute("ROLLBACK")
        await shutting
        self._holder, self._other = self._other, self._holder

    async def let_the_dead_go(self) -> None:
        """A session does not notice that its client is gone while it waits for a lock."""
        await self._rows.all(
            "SELECT pg_terminate_backend(pid, 60000) FROM pg_stat_activity WHERE application_name = 'zmart-backfill'"
        )
        await self._holder.execute("ROLLBACK")

    async def _shut(self, session: asyncpg.Connection) -> None:
        await session.execute("BEGIN")
        await session.execute("LOCK TABLE event_logs IN SHARE MODE")

    async def _somebody_waits(self) -> bool:
        return bool(await self._rows.one(WAITING, self._other.get_server_pid()))

    async def _both_wait(self) -> bool:
        return bool(await self._rows.one(WAITING, 0) > await self._rows.one(WAITING, self._other.get_server_pid()) > 0)


@pytest.fixture
async def gate(database_url: str) -> AsyncIterator[Gate]:
    one, two = await asyncpg.connect(database_url), await asyncpg.connect(database_url)
    gate = Gate(one, two, Rows(database_url))
    await gate.close()
    yield gate
    await one.close()
    await two.close()


async def test_a_killed_backfill_goes_on_where_it_was_and_reads_everything_once(
    chain: Chain, database_url: str, gate: Gate, tmp_path: Path
) -> None:
    await written(chain)
    env, rows = environment(chain, database_url, tmp_path), Rows(database_url)
    process = await started(env, 0)
    while (first := int(await rows.one("SELECT count(*) FROM event_logs"))) < BATCH:
        await gate.let_one_in()
    process.send_signal(signal.SIGKILL)
    await process.wait()
    await gate.let_the_dead_go()
    process = await started(env, 0)
    said, _ = await process.communicate()
    assert process.returncode == 0, said.decode()
    missing = int(said.decode().split(" transactions were missing")[0].split()[-1])
    assert re.search(r"\d+/\d+ [\d,]+/s", said.decode()), "how far it came, and how fast"
    events = "SELECT count(*) FROM event_logs WHERE event_type = 'ProposalAggregated'"
    assert await rows.one(events) == TALLIES
    assert await rows.one("SELECT count(*) FROM event_logs WHERE commitment <> 'finalized'") == 0
    assert missing == int(await rows.one("SELECT count(*) FROM event_logs")) - first, (
        "what was there was not read again"
    )
    counted = "SELECT count FROM event_counts WHERE event_type = 'ProposalAggregated'"
    assert await rows.one(counted) == TALLIES


async def test_only_what_is_missing_is_read_and_the_indexers_own_cursor_stays(
    chain: Chain, database_url: str, tmp_path: Path
) -> None:
    await written(chain, 20)
    database = await database_pool(database_url, 2)
    settings = Settings(data_dir=tmp_path, solana_rpc_url=chain.ledger.rpc_url)
    told: list[tuple[int, int]] = []
    missing, cursor = await backfill(settings, database, 0, lambda *progress: told.append(progress))
    again, _ = await backfill(settings, database, 0, lambda *_: None)
    await database.close()
    assert (missing > 20, again, told[-1]) == (True, 0, (missing, missing))
    assert cursor.slot == chain.ledger.node.bank.settled("finalized").slot
    (row,) = await Rows(database_url).all("SELECT program_id FROM indexer_cursor")
    assert row["program_id"] == f"{settings.program_id}#from:0"


@pytest.mark.parametrize("name", ["ZMART_SOLANA_RPC_URL", "ZMART_DATABASE_URL"])
async def test_an_outage_ends_it_with_words(chain: Chain, database_url: str, tmp_path: Path, name: str) -> None:
    nowhere = {"ZMART_SOLANA_RPC_URL": "http://127.0.0.1:9", "ZMART_DATABASE_URL": "postgresql://x@127.0.0.1:9/x"}
    process = await started({**environment(chain, database_url, tmp_path), name: nowhere[name]}, 0)
    said, _ = await process.communicate()
    assert (process.returncode, "run it again to go on" in said.decode(), b"Traceback" in said) == (1, True, False)
