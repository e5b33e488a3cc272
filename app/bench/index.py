"""`zmart bench index`: the program's events from the webhook to the tables and to browsers, on a whole running system.

Ours is events a second from committed bodies to committed projections, with 50 trades in a body of 90 KB and more. The
baseline is `bare_decoder.py`: log parser and decoder alone, on the same logs. Beside it stand what a webhook waits for
its answer at 200 a second while no worker runs, and at a bare server that commits the same bytes; what lies between an
answer and the news in a browser at half the goal's rate; and what a page of events costs.
"""

from __future__ import annotations

import asyncio
import base64
import json
import os
import secrets
import signal
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import asyncpg
from solders.hash import Hash
from solders.keypair import Keypair
from solders.message import Message
from solders.transaction import Transaction

from app.bench.bare_receiver import TABLE, bare_receiver
from app.bench.event_pages import fill, pages
from app.bench.harness import Figures, Report, Shape, in_turns
from app.bench.processes import cpu_by_role, spent_each
from app.bench.webhook_bodies import ITEMS, body
from app.bench.webhook_load import WebhookPlan
from app.bench.webhook_probe import ProbePlan
from app.clock import monotonic_s, wall_s
from app.config import Settings
from app.demo.run import running_system
from app.identities import tokens
from chain.keys import load_key
from chain.program import ZmartProgram
from domain.ids import MarketId, Wallet, base58_encode
from identity import Tier

SHAPE = Shape(seconds=10.0, rounds=3, markets=(50,), wallets=1_000)
GOAL_PER_S = 2_000
"""Events a second; a run has as many as the goal would take its time for."""
WEBHOOKS_PER_S = 200.0
PROBES_PER_S = 4
ENVIRONMENT = {
    "ZMART_LOG_LEVEL": "warning",
    "ZMART_AGGREGATION_CRON": "0 0 1 1 *",
    "ZMART_SLOT_MS": "2000",  # no node shows these transactions: 64 slots after theirs they would count as dropped
    "ZMART_INDEX_SWEEP_S": "60",
}
DONE_S_MAX = 300.0
LOOK_S = 0.1
LOAD_S_EXTRA = 120.0
TOKEN_TTL_S = 3_600
_QUESTION = b"Qm" + b"q" * 44
_DEPTH, _LIQUIDITY = 100_000_000_000, 100_000_000
_SETTLE = (  # as if the chain had made them final
    "UPDATE indexed_transactions SET commitment = 'finalized', settled_at = now() WHERE commitment = 'confirmed'",
    "UPDATE event_logs SET commitment = 'finalized' WHERE commitment = 'confirmed'",
)
_PENDING = """
SELECT (SELECT count(*) FROM webhook_inbox WHERE status = 'pending') AS bodies,
    (SELECT count(*) FROM market_effects) AS effects,
    (SELECT count(*) FROM positions WHERE slot < touched_slot) AS positions
"""


class EventsMissing(AssertionError):
    """What was put into the inbox did not come out of it, each event once."""


def measure(shape: Shape) -> Report:
    """Alternate ours and the baseline on one system; compared is `events_per_s`."""
    with tempfile.TemporaryDirectory(prefix="zmart-bench-") as name:
        folder = Path(name)
        with running_system(folder, ENVIRONMENT) as connection:
            return compare(Ground(connection, folder, shape))


def compare(ground: Ground) -> Report:
    """Measure on a system that runs already."""
    asyncio.run(ground.prepare())
    return in_turns(
        "index", "events_per_s", ground.shape.rounds, lambda: asyncio.run(_ours(ground)), lambda: _baseline(ground)
    )


def _baseline(ground: Ground) -> Figures:
    return ground.load("app.bench.bare_decoder", str(ground.shape.seconds / 4))


async def _ours(ground: Ground) -> Figures:
    figures = await _throughput(ground)
    answers, news = await _answers(ground), await _news(ground)
    shown = await pages(ground.connection, ground.shape.seconds / 4)
    return {**figures, "webhook": answers, "delivery": news, "pages": shown}


async def _throughput(ground: Ground) -> Figures:
    """Bodies are committed while the indexer stands still; then it goes, until all of them are done."""
    count = int(GOAL_PER_S * ground.shape.seconds) // ITEMS
    bodies = [(each,) for each in await ground.write_bodies(count)]
    pids = ground.connection["pids"]
    async with ground.database() as database:
        before = await database.fetchval("SELECT count(*) FROM event_logs")
        with ground.indexer_stopped():
            await database.executemany("INSERT INTO webhook_inbox (source, body) VALUES ('webhook', $1)", bodies)
            spent, began_s = cpu_by_role(pids), monotonic_s()
        await _until_done(database, "bodies")
        took_s, then = monotonic_s() - began_s, cpu_by_role(pids)
        found = await database.fetchval("SELECT count(*) FROM event_logs") - before
        if found != count * ITEMS:
            raise EventsMissing(f"{count * ITEMS} events came in, {found} are there")
        await _until_done(database, "effects", "positions")
        behind_s = monotonic_s() - began_s - took_s
    return {
        "events_per_s": round(found / took_s, 1),
        "events": found,
        "seconds": round(took_s, 2),
        "positions_behind_s": round(behind_s, 2),
        "cpu_us_per_event": spent_each(spent, then, found),
    }


async def _answers(ground: Ground) -> Figures:
    """What 200 webhooks a second wait for, while nobody works them off; afterwards they are thrown away."""
    async with ground.database() as database:
        with ground.indexer_stopped():
            bare = await _bare_answers(ground, database)
            spent = cpu_by_role(ground.connection["pids"])
            WebhookPlan(ground.webhook_url, ground.secret, WEBHOOKS_PER_S, ground.shape.seconds).write(ground.folder)
            figures = ground.load("app.bench.webhook_load")
            each = spent_each(spent, cpu_by_role(ground.connection["pids"]), figures["posted"])
            stored = await database.fetchval("SELECT count(*) FROM webhook_inbox WHERE status = 'pending'")
            if stored < figures["posted"] - figures["refused"]:
                raise EventsMissing(f"{figures['posted']} webhooks were answered, {stored} are there")
            await database.execute("DELETE FROM webhook_inbox WHERE status = 'pending'")
    ratio = round(figures["p99_ms"] / bare["p99_ms"], 2)
    return {**figures, "cpu_us_per_webhook": each, "bare": bare, "p99_ratio_to_bare": ratio}


async def _bare_answers(ground: Ground, database: asyncpg.Connection) -> Figures:
    """The same load on a server that does nothing but commit the bytes to the same database."""
    with bare_receiver(ground.connection["database_url"]) as url:
        WebhookPlan(url, ground.secret, WEBHOOKS_PER_S, ground.shape.seconds).write(ground.folder)
        figures = ground.load("app.bench.webhook_load")
    await database.execute(f"DROP TABLE {TABLE}")
    return figures


async def _news(ground: Ground) -> Figures:
    """Markets are cancelled at half the goal's rate of other events; each browser's news is timed."""
    markets = await ground.create_markets(max(int(ground.shape.seconds * PROBES_PER_S), 1))
    per_s = GOAL_PER_S / 2 / ITEMS
    await ground.write_bodies(int(per_s * ground.shape.seconds) + 1)
    connection = ground.connection
    ProbePlan(
        webhook_url=ground.webhook_url,
        secret=ground.secret,
        rpc_url=connection["rpc_url"],
        ws_url=connection["ws_url"],
        token=ground.token(),
        program_id=connection["program_id"],
        admin_keypair=connection["admin_keypair"],
        markets=list(markets),
        seconds=ground.shape.seconds,
        bodies_per_s=per_s,
    ).write(ground.folder)
    figures = ground.load("app.bench.webhook_probe")
    async with ground.database() as database:
        await _until_done(database, "bodies", "effects", "positions")
    return figures


async def _until_done(database: asyncpg.Connection, *names: str) -> None:
    """Wait until nothing of these is pending."""
    async with asyncio.timeout(DONE_S_MAX):
        while await _pending(database, names):
            await database.execute("SELECT pg_sleep($1)", LOOK_S)


async def _pending(database: asyncpg.Connection, names: Sequence[str]) -> bool:
    (row,) = await database.fetch(_PENDING)
    return any(row[name] for name in names)


@dataclass
class Ground:
    """A running system, markets to trade, and a folder for what loads are told."""

    connection: Mapping[str, Any]
    folder: Path
    shape: Shape
    traded: list[MarketId] = field(default_factory=list)

    @property
    def webhook_url(self) -> str:
        """The front door's path for webhooks."""
        return f"{self.connection['envoy_url']}/webhooks/events"

    @property
    def secret(self) -> str:
        """What proves a webhook."""
        return str(self.connection["webhook_secret"])

    def token(self) -> str:
        """A wallet's token."""
        issuer = tokens(Settings(data_dir=self.folder))
        return issuer.issue(Wallet(str(Keypair().pubkey())), Tier.WALLET, TOKEN_TTL_S).token

    def load(self, module: str, *arguments: str) -> Figures:
        """Run one load process to its end; its figures."""
        command = [sys.executable, "-m", module, str(self.folder), *arguments]
        limit_s = self.shape.seconds + LOAD_S_EXTRA
        done = subprocess.run(command, stdout=subprocess.PIPE, check=True, timeout=limit_s)
        figures: Figures = json.loads(done.stdout)
        return figures

    async def prepare(self) -> None:
        """Markets to trade, a million events to list, and bodies for the first baseline."""
        self.traded += await self.create_markets(self.shape.markets[0])
        async with self.database() as database:
            await fill(database)
        await self.write_bodies(1)

    async def write_bodies(self, count: int) -> Sequence[bytes]:
        """New bodies of trades that nobody has seen, in the newest confirmed slot."""
        wallets = [base58_encode(b"\x01" + secrets.token_bytes(31)) for _ in range(self.shape.wallets)]
        slot = await self._rpc("getSlot", {"commitment": "confirmed"})
        bodies = [body(self.traded, wallets, slot, int(wall_s())) for _ in range(count)]
        (self.folder / "bodies.jsonl").write_bytes(b"\n".join(bodies))
        return bodies

    async def create_markets(self, count: int) -> Sequence[MarketId]:
        """So many markets on the ledger, all of them known to the backend when this returns."""
        program, admin = (
            ZmartProgram.at(self.connection["program_id"]),
            load_key(Path(self.connection["admin_keypair"])),
        )
        latest = await self._rpc("getLatestBlockhash", {"commitment": "confirmed"})
        blockhash = Hash.from_string(latest["value"]["blockhash"])
        ids = [MarketId(base58_encode(b"\x01" + secrets.token_bytes(31))) for _ in range(count)]
        for market_id in ids:
            call = program.create_market(admin.wallet, market_id, _DEPTH, _LIQUIDITY, _QUESTION)
            signed = Transaction([admin.pair], Message([call], admin.pair.pubkey()), blockhash)
            raw = base64.b64encode(bytes(signed)).decode()
            await self._rpc("sendTransaction", raw, {"encoding": "base64", "preflightCommitment": "processed"})
        async with self.database() as database, asyncio.timeout(DONE_S_MAX):
            while await database.fetchval("SELECT count(*) FROM markets WHERE market_id = ANY ($1)", ids) < count:
                await database.execute("SELECT pg_sleep($1)", LOOK_S)
        return ids

    @contextmanager
    def indexer_stopped(self) -> Iterator[None]:
        """The indexer stands still, without knowing it."""
        pids = self.connection["pids"]["indexer"]
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            for pid in pids:
                os.kill(pid, signal.SIGCONT)

    @asynccontextmanager
    async def database(self) -> AsyncIterator[asyncpg.Connection]:
        """A session; at its end what was written counts as final, for no chain will ever say so."""
        opened = await asyncpg.connect(self.connection["database_url"])
        try:
            yield opened
            for statement in _SETTLE:
                await opened.execute(statement)
        finally:
            await opened.close()

    async def _rpc(self, method: str, *params: Any) -> Any:
        body = {"jsonrpc": "2.0", "id": 1, "method": method, "params": list(params)}
        async with aiohttp.ClientSession() as http, http.post(self.connection["rpc_url"], json=body) as response:
            answer = await response.json()
        assert "result" in answer, answer
        return answer["result"]
