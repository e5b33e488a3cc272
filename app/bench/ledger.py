"""`zmart bench ledger`: signed transactions of four kinds, from this process to a ledger in another.

Ours checks signatures, runs preflight on the confirmed state and persists before it answers. The baseline is
`bare_node.py`: the same bodies, parsed, verified and stored by the same libraries, and nothing else.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import signal
import sys
import tempfile
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import uvloop
from solders.hash import Hash
from solders.keypair import Keypair

from app.bench.harness import Figures, Report, Shape, in_turns, percentiles
from app.bench.transactions import KINDS, Mix
from app.clock import monotonic_s
from app.embedded.loopback import LOOPBACK, free_port_base
from chain.keys import ensure_local_keys
from chain.program import NEWEST_PROGRAM_ID, ZmartProgram

VOTERS = 100
VOTER_LAMPORTS = 1_000_000_000_000
PORTS = 8
START_S_MAX = 20.0
STOP_S_MAX = 20.0
REFRESH_S = 0.4
"""How often the client asks for a new block hash: once a slot."""
POLL_S = 0.05


SHAPE = Shape()


def measure(shape: Shape) -> Report:
    """Alternate ours and the baseline; compared is `tx_per_s`, what was answered with a signature."""
    return in_turns("ledger", "tx_per_s", shape.rounds, lambda: _run(_ours(shape)), lambda: _run(_baseline(shape)))


def _run(work: Any) -> Figures:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        figures: Figures = runner.run(work)
    return figures


@dataclass
class Load:
    """One client's run: what it sent, and how long each answer took."""

    url: str
    mix: Mix
    accepted: Counter[str] = field(default_factory=Counter)
    refused: Counter[str] = field(default_factory=Counter)
    latencies_s: list[float] = field(default_factory=list)
    by_second: Counter[int] = field(default_factory=Counter)

    async def send_for(self, session: aiohttp.ClientSession, shape: Shape) -> Figures:
        """Keep `connections` requests open for `seconds`."""
        began, kinds = monotonic_s(), itertools.cycle(KINDS)

        async def send_all() -> None:
            while monotonic_s() - began < shape.seconds:
                await self._send(session, next(kinds), began)

        await asyncio.gather(*(send_all() for _ in range(shape.connections)))
        return self._figures(monotonic_s() - began)

    async def _send(self, session: aiohttp.ClientSession, kind: str, began: float) -> None:
        kind, body = self.mix.body(kind)
        asked = monotonic_s()
        async with session.post(self.url, data=body, headers=_JSON) as response:
            answer = await response.json()
        answered = monotonic_s()
        self.latencies_s.append(answered - asked)
        if "result" in answer:
            self.accepted[kind] += 1
            self.by_second[int(answered - began)] += 1
        else:
            self.refused[str(answer["error"]["message"])] += 1

    def _figures(self, took_s: float) -> Figures:
        full_seconds = [self.by_second[second] for second in range(int(took_s))]
        return {
            "tx_per_s": round(self.accepted.total() / took_s, 1),
            "slowest_second_tx": min(full_seconds, default=0),
            "seconds": round(took_s, 1),
            "accepted": self.accepted.total(),
            "accepted_by_kind": dict(self.accepted),
            "refused": dict(self.refused),
            **percentiles(self.latencies_s),
        }


_JSON = {"Content-Type": "application/json"}


async def _baseline(shape: Shape) -> Figures:
    with tempfile.TemporaryDirectory() as folder:
        async with _child("app.bench.bare_node", folder) as process, aiohttp.ClientSession() as session:
            assert process.stdout is not None
            port = int(await asyncio.wait_for(process.stdout.readline(), START_S_MAX))
            mix = Mix(ZmartProgram.at(NEWEST_PROGRAM_ID), ensure_local_keys(Path(folder)), _voters(), settle_slots=0)
            return await Load(f"http://{LOOPBACK}:{port}", mix).send_for(session, shape)


async def _ours(shape: Shape) -> Figures:
    base = free_port_base(PORTS)
    with tempfile.TemporaryDirectory() as folder:
        url = f"http://{LOOPBACK}:{base + 4}"
        arguments = ("app", "ledger", "--data-dir", folder, "--port-base", str(base))
        async with _child(*arguments), aiohttp.ClientSession() as session:
            await _healthy(session, url)
            return await _measure(session, url, Path(folder), shape)


async def _measure(session: aiohttp.ClientSession, url: str, folder: Path, shape: Shape) -> Figures:
    mix = Mix(ZmartProgram.at(NEWEST_PROGRAM_ID), ensure_local_keys(folder / "ledger"), _voters())
    for voter in mix.voters:
        await _call(session, url, "requestAirdrop", str(voter.pubkey()), VOTER_LAMPORTS)
    before = await _call(session, url, "getTransactionCount", {"commitment": "processed"})
    await _refresh(session, url, mix)
    refreshing = asyncio.create_task(_keep_fresh(session, url, mix))
    load = Load(url, mix)
    try:
        figures = await load.send_for(session, shape)
    finally:
        refreshing.cancel()
        await asyncio.gather(refreshing, return_exceptions=True)
    after = await _call(session, url, "getTransactionCount", {"commitment": "processed"})
    return {**figures, "landed": after - before}


def _voters() -> list[Keypair]:
    return [Keypair() for _ in range(VOTERS)]


async def _keep_fresh(session: aiohttp.ClientSession, url: str, mix: Mix) -> None:
    while True:
        await asyncio.sleep(REFRESH_S)
        await _refresh(session, url, mix)


async def _refresh(session: aiohttp.ClientSession, url: str, mix: Mix) -> None:
    latest = await _call(session, url, "getLatestBlockhash", {"commitment": "confirmed"})
    mix.blockhash, mix.slot = Hash.from_string(latest["value"]["blockhash"]), latest["context"]["slot"]


async def _call(session: aiohttp.ClientSession, url: str, method: str, *params: Any) -> Any:
    body = {"jsonrpc": "2.0", "id": 1, "method": method, "params": list(params)}
    async with session.post(url, json=body) as response:
        return (await response.json())["result"]


async def _healthy(session: aiohttp.ClientSession, url: str) -> None:
    """Raises `TimeoutError` when the ledger does not answer in time."""
    async with asyncio.timeout(START_S_MAX):
        while True:
            with contextlib.suppress(aiohttp.ClientError):
                await _call(session, url, "getHealth")
                return
            await asyncio.sleep(POLL_S)


@contextlib.asynccontextmanager
async def _child(*arguments: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """A Python process of this installation; it has ended when this returns."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", *arguments, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL
    )
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(signal.SIGTERM)
        await asyncio.wait_for(process.communicate(), STOP_S_MAX)
