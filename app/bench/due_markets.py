"""A whole system in which many markets fall due within the same minute: begun on a chain that holds them, and watched.

The ledger is begun with markets in RESOLVING, the system takes them in by its public door, and the chain's clock is
moved to where the first of them falls due. From then on everything is the system's own work.
"""

from __future__ import annotations

import asyncio
import base64
import os
import secrets
import signal
import tempfile
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import asyncpg
import grpc

from app.bench.harness import Figures, percentiles
from app.clock import wall_s
from app.config import Settings
from app.demo.doors import Doors
from app.demo.run import running_system
from chain.ledger import ResolvingMarket, seed_resolving
from chain.program import ZmartProgram
from domain.disputes import MARGIN_S
from domain.ids import MarketId, base58_encode
from zmart.v1 import market_service_pb2 as pb
from zmart.v1.market_service_pb2_grpc import MarketServiceStub

PERIOD_S = 259_200
"""The dispute period that a new local chain is configured with."""
LEAD_S = 4
"""Chain seconds from the moved clock to the first deadline: the shards have heard of the clock by then."""
CLOCK = "SysvarC1ock11111111111111111111111111111111"
AT_ONCE = 64
CALL_S = 30.0
LOOK_S = 0.02
"""How often the chain's own clock is read, to know when each second was first shown."""
ENDED = """
SELECT count(*) FROM chain_transactions WHERE action = 'finalize_market' AND status IN ('confirmed', 'finalized')
"""
OPEN = "SELECT count(*) AS open FROM markets WHERE state = 'RESOLVING'"
STATES = "SELECT state, count(*) AS markets FROM markets GROUP BY state"
ATTEMPTS = """
SELECT market_id, min(extract(epoch FROM planned_at))::float8 AS planned_s, count(*) AS attempts,
    max(extract(epoch FROM confirmed_at))::float8 AS confirmed_s
FROM chain_transactions WHERE action = 'finalize_market' GROUP BY market_id
"""


@dataclass
class DueMarkets:
    """The system, its markets, and when each of them falls due in chain time."""

    connection: Mapping[str, Any]
    due_at_s: Mapping[MarketId, int]
    shown_at_s: dict[int, float] = field(default_factory=dict)
    """Wall time at which the chain first showed a second of its own at confirmed commitment."""

    async def adopt(self) -> None:
        """Have the system take every market in, by its public door."""
        gate = asyncio.Semaphore(AT_ONCE)
        async with grpc.aio.insecure_channel(self.connection["grpc_target"]) as channel:
            stub = MarketServiceStub(channel)

            async def one(market_id: MarketId) -> None:
                async with gate:
                    await stub.GetMarket(pb.GetMarketRequest(market_id=market_id), timeout=CALL_S)

            async with asyncio.TaskGroup() as tasks:
                for market_id in self.due_at_s:
                    tasks.create_task(one(market_id))

    async def run(self, until_s: float, kill_after_s: float | None = None) -> None:
        """Let them all fall due, kill a shard on the way, and wait until every one has ended or `until_s` is over."""
        async with self._doors() as doors:
            clock = asyncio.create_task(self._watch_clock(doors))
            now_s = await _chain_s(doors)
            await doors.advance_clock(min(self.due_at_s.values()) - now_s - LEAD_S)
            killing = asyncio.create_task(self._kill(kill_after_s))
            try:
                async with asyncio.timeout(until_s):
                    await self._all_ended()
            finally:
                for task in (clock, killing):
                    task.cancel()
                    with suppress(asyncio.CancelledError):
                        await task

    async def executions(self) -> Mapping[MarketId, int]:
        """How often each market was finalized, as the ledger's own history has it."""
        gate, found = asyncio.Semaphore(AT_ONCE), dict[MarketId, int]()
        program = ZmartProgram.at(self.connection["program_id"])
        async with self._doors() as doors:

            async def one(market_id: MarketId) -> None:
                address = str(program.market_address(market_id)[0])
                async with gate:
                    history = await doors.rpc("getSignaturesForAddress", address, {"commitment": "confirmed"})
                found[market_id] = sum(entry["err"] is None for entry in history)

            async with asyncio.TaskGroup() as tasks:
                for market_id in self.due_at_s:
                    tasks.create_task(one(market_id))
        return found

    async def figures(self) -> Figures:
        """How late the actors woke, against when the chain first showed the second, and how fast all of it was done."""
        rows = await self._rows(ATTEMPTS)
        late_s = [row["planned_s"] - self.shown_at_s[self.due_at_s[row["market_id"]]] for row in rows]
        began_s, last_due_s = (self.shown_at_s[end(self.due_at_s.values())] for end in (min, max))
        landed_s = max(row["confirmed_s"] for row in rows)
        return {
            "markets": len(self.due_at_s),
            **{f"lateness_{name}": value for name, value in percentiles(late_s).items()},
            "lateness_max_ms": round(max(late_s) * 1_000, 2),
            "attempts": sum(row["attempts"] for row in rows),
            "finalized_per_s": round(len(rows) / (landed_s - began_s), 1),
            "all_final_after_last_deadline_s": round(landed_s - last_due_s, 2),
        }

    async def states(self, until_s: float) -> Mapping[str, int]:
        """How many markets the database has in each state, once all have taken their ends in or `until_s` is over."""
        with suppress(TimeoutError):
            async with asyncio.timeout(until_s):
                while any(row["open"] for row in await self._rows(OPEN)):  # noqa: ASYNC110 - rows tell nobody
                    await asyncio.sleep(0.25)
        return {row["state"]: row["markets"] for row in await self._rows(STATES)}

    async def _kill(self, after_s: float | None) -> None:
        if after_s is not None:
            await asyncio.sleep(LEAD_S + after_s)
            owners = await self._rows("SELECT DISTINCT pid FROM virtual_shards")
            os.kill(min(row["pid"] for row in owners), signal.SIGKILL)

    async def _watch_clock(self, doors: Doors) -> None:
        """A second that no reading showed was shown by the next one that did."""
        shown = None
        while True:
            second = await _chain_s(doors)
            at_s = wall_s()
            if shown is not None and second - shown < LEAD_S:
                self.shown_at_s.update(dict.fromkeys(range(shown + 1, second + 1), at_s))
            shown = second
            await asyncio.sleep(LOOK_S)

    async def _all_ended(self) -> None:
        database = await asyncpg.connect(self.connection["database_url"])
        try:
            while await database.fetchval(ENDED) < len(self.due_at_s):  # noqa: ASYNC110 - rows tell nobody
                await asyncio.sleep(0.25)
        finally:
            await database.close()

    async def _rows(self, statement: str) -> Sequence[Any]:
        database = await asyncpg.connect(self.connection["database_url"])
        try:
            return list(await database.fetch(statement))
        finally:
            await database.close()

    @asynccontextmanager
    async def _doors(self) -> AsyncIterator[Doors]:
        async with (
            grpc.aio.insecure_channel(self.connection["grpc_target"]) as channel,
            aiohttp.ClientSession() as http,
        ):
            yield Doors(self.connection, channel, http)


async def _chain_s(doors: Doors) -> int:
    """The Clock sysvar at confirmed commitment, as everybody reads it."""
    answer = await doors.rpc("getAccountInfo", CLOCK, {"encoding": "base64", "commitment": "confirmed"})
    return int.from_bytes(base64.b64decode(answer["value"]["data"][0])[32:40], "little")


@contextmanager
def due_markets(count: int, within_s: int, env: Mapping[str, str] | None = None) -> Iterator[DueMarkets]:
    """Start a system whose chain holds `count` markets that fall due evenly within so many seconds."""
    with tempfile.TemporaryDirectory(prefix="zmart-due-") as name:
        folder, now_s = Path(name), int(wall_s())
        ids = [MarketId(base58_encode(b"\x02" + secrets.token_bytes(31))) for _ in range(count)]
        proposed = {each: now_s + index * within_s // count for index, each in enumerate(ids)}
        markets = [ResolvingMarket(each, at_s) for each, at_s in proposed.items()]
        seed_resolving(folder / "ledger", Settings(data_dir=folder).program_id, markets, now_s, secrets.token_bytes(32))
        with running_system(folder, env) as connection:
            yield DueMarkets(connection, {each: at_s + PERIOD_S + MARGIN_S for each, at_s in proposed.items()})
