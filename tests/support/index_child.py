"""An indexer in a process of its own, to be killed: `python -m tests.support.index_child DATABASE_URL RPC_URL HINTS`.

Its markets are a table: the newest account that each has heard of, and each vote. So two runs can be compared.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import asyncpg

from chain.accounts import ChainAccounts
from chain.client import ChainReader
from chain.history import ChainHistory
from chain.program import NEWEST_PROGRAM_ID
from domain.commands import AdoptMarket, Command, RecordChainVote
from domain.outcomes import Done, Outcome
from indexer.ports import MarketBroke, MarketsAway
from indexer.service import Indexer, IndexerParts, IndexerSettings
from storage.database import database_pool
from storage.index_store import PostgresIndexStore
from storage.projections import Projections

TABLES = """
CREATE TABLE IF NOT EXISTS heard_markets (market_id text PRIMARY KEY, slot bigint, state text, likes bigint);
CREATE TABLE IF NOT EXISTS heard_votes (vote_id text PRIMARY KEY, market_id text, wallet text, choice boolean,
    weight numeric)
"""
HEAR_MARKET = """
INSERT INTO heard_markets AS h VALUES ($1, $2, $3, $4) ON CONFLICT (market_id) DO UPDATE
SET slot = excluded.slot, state = excluded.state, likes = excluded.likes WHERE h.slot < excluded.slot
"""
HEAR_VOTE = "INSERT INTO heard_votes VALUES ($1, $2, $3, $4, $5) ON CONFLICT DO NOTHING"


class ListeningMarkets:
    """Commits what markets hear, and sometimes loses the answer."""

    def __init__(self, pool: asyncpg.Pool, dice: random.Random) -> None:
        self._pool = pool
        self._dice = dice

    async def submit_many(self, commands: Sequence[Command]) -> Sequence[Outcome | MarketsAway | MarketBroke]:
        return [await self._submit(command) for command in commands]

    async def _submit(self, command: Command) -> Outcome | MarketsAway:
        match command:
            case AdoptMarket(market_id, seen):
                await self._pool.execute(HEAR_MARKET, market_id, seen.slot, seen.state.name, seen.proposal_likes)
            case RecordChainVote():
                vote = (command.vote_id, command.market_id, command.wallet, command.choice, command.weight)
                await self._pool.execute(HEAR_VOTE, *vote)
            case _:
                raise AssertionError(command)
        return MarketsAway("the answer was lost") if self._dice.random() < 0.05 else Done(1)


class TheseHints:
    """A subscription that tells of these signatures, and then is silent."""

    def __init__(self, signatures: Sequence[str]) -> None:
        self._signatures = signatures

    async def hints(self) -> AsyncIterator[tuple[str, int] | None]:
        yield None
        for signature in self._signatures:
            yield signature, 1
        await asyncio.Event().wait()


async def run(database_url: str, rpc_url: str, hints: Sequence[str]) -> None:
    """Index until killed."""
    dice = random.Random(os.getpid())
    database = await database_pool(database_url, 8, "index-child")
    reader = ChainReader.connect(rpc_url, NEWEST_PROGRAM_ID)
    async with asyncpg.create_pool(database_url, min_size=1, max_size=4) as pool:
        parts = IndexerParts(
            program_id=str(NEWEST_PROGRAM_ID),
            store=PostgresIndexStore(database, NEWEST_PROGRAM_ID),
            history=ChainHistory(reader.rpc, NEWEST_PROGRAM_ID),
            accounts=ChainAccounts(reader.rpc, reader.program),
            markets=ListeningMarkets(pool, dice),
            projector=Projections(),
            subscription=TheseHints(hints),
            dice=dice,
        )
        settings = IndexerSettings(workers=2, idle_s=0.02, sweep_s=0.3, settle_s=0.1, lease_s=1.0)
        await Indexer(parts, settings).run()


class IndexChild:
    """Starts and kills such a process."""

    def __init__(self, database_url: str, rpc_url: str, hints: Path, log: Path) -> None:
        self._argv = [sys.executable, "-m", "tests.support.index_child", database_url, rpc_url, str(hints)]
        self._log = log
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it."""
        root = Path(__file__).parents[2]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join((str(root), str(root / "protos")))}
        with self._log.open("ab") as output:
            self._process = subprocess.Popen(self._argv, env=environment, cwd=root, stdout=output, stderr=output)

    def freeze(self) -> None:
        """SIGSTOP: its connections stay open, and it does nothing more."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """SIGCONT: it goes on in the middle of whatever it was doing."""
        if self._process is not None:
            self._process.send_signal(signal.SIGCONT)

    def kill(self) -> None:
        """SIGKILL, at whatever it is doing, frozen or not."""
        if self._process is not None:
            self._process.send_signal(signal.SIGKILL)
            self._process.wait(60)
            self._process = None

    @property
    def is_alive(self) -> bool:
        """Whether it runs; one that ended by itself met a bug."""
        return self._process is not None and self._process.poll() is None


if __name__ == "__main__":
    asyncio.run(run(sys.argv[1], sys.argv[2], json.loads(Path(sys.argv[3]).read_text())))
