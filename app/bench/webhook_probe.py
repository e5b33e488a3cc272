"""From the webhook's answer to the browser: markets are cancelled one by one under load, and each news is timed.

Run as `python -m app.bench.webhook_probe FOLDER`, which has the plan; prints its figures. The ledger posts its webhooks
to this process, which hands the bytes on: so it knows when each was answered, and no other source can be first.
"""

from __future__ import annotations

import asyncio
import base64
import json
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import uvloop
from aiohttp import web
from solders.hash import Hash
from solders.message import Message
from solders.transaction import Transaction

from app.bench.harness import Figures, percentiles
from app.bench.webhook_bodies import ITEMS
from app.clock import monotonic_s
from app.embedded.loopback import LOOPBACK
from chain.keys import SigningKey, load_key
from chain.program import ZmartProgram
from domain.ids import MarketId

PLAN = "probe.json"
BODY_BYTES_MAX = 8 * 1024 * 1024
CHANNELS_MAX = 50
"""Channels of one connection; the bridge allows 100."""
NEWS_S_MAX = 30.0
"""How long is waited for the last news."""


@dataclass(frozen=True, slots=True)
class ProbePlan:
    """Where everything is, which markets to cancel, and how much else to post meanwhile."""

    webhook_url: str
    secret: str
    rpc_url: str
    ws_url: str
    token: str
    program_id: str
    admin_keypair: str
    markets: list[str]
    seconds: float
    bodies_per_s: float

    def write(self, folder: Path) -> None:
        """For the probe process to read."""
        (folder / PLAN).write_text(json.dumps(asdict(self)))


@dataclass
class Probe:
    """One run: when each cancellation's webhook was answered, and when its news came."""

    plan: ProbePlan
    bodies: list[bytes]
    http: aiohttp.ClientSession
    markets_of: dict[str, MarketId] = field(default_factory=dict)
    answered_s: dict[MarketId, float] = field(default_factory=dict)
    told_s: dict[MarketId, float] = field(default_factory=dict)
    posted: int = 0
    _told_all: asyncio.Event = field(default_factory=asyncio.Event)

    async def run(self) -> Figures:
        """Listen, load, cancel, and wait for what is still to come."""
        async with self._listening(), self._receiving() as url:
            await self._rpc("zmart_setWebhook", url, self.plan.secret)
            try:
                await asyncio.gather(self._load(), self._cancel_all())
                await self._all_told()
            finally:
                await self._rpc("zmart_setWebhook", self.plan.webhook_url, self.plan.secret)
        waited_s = [max(self.told_s[m] - at_s, 0.0) for m, at_s in self.answered_s.items() if m in self.told_s]
        lost = len(self.plan.markets) - len(waited_s)
        return {
            "events_per_s": self.plan.bodies_per_s * ITEMS,
            "told": len(waited_s),
            "lost": lost,
            **percentiles(waited_s),
        }

    async def _load(self) -> None:
        began_s = monotonic_s()
        for number in range(int(self.plan.seconds * self.plan.bodies_per_s)):
            await asyncio.sleep(max(began_s + number / self.plan.bodies_per_s - monotonic_s(), 0))
            await self._post(self.bodies[number % len(self.bodies)])
            self.posted += 1

    async def _post(self, body: bytes) -> int:
        headers = {"authorization": self.plan.secret, "content-type": "application/json"}
        async with self.http.post(self.plan.webhook_url, data=body, headers=headers) as response:
            await response.read()
            return response.status

    async def _cancel_all(self) -> None:
        """One after the other, evenly over the time."""
        program, admin = ZmartProgram.at(self.plan.program_id), load_key(Path(self.plan.admin_keypair))
        for market in self.plan.markets:
            market_id = MarketId(market)
            self.markets_of[await self._send(program, admin, market_id)] = market_id
            await asyncio.sleep(self.plan.seconds / len(self.plan.markets))

    async def _send(self, program: ZmartProgram, admin: SigningKey, market_id: MarketId) -> str:
        latest = await self._rpc("getLatestBlockhash", {"commitment": "confirmed"})
        call = program.cancel_market(admin.wallet, market_id)
        blockhash = Hash.from_string(latest["value"]["blockhash"])
        signed = Transaction([admin.pair], Message([call], admin.pair.pubkey()), blockhash)
        raw = base64.b64encode(bytes(signed)).decode()
        self.markets_of[str(signed.signatures[0])] = market_id
        return str(await self._rpc("sendTransaction", raw, {"encoding": "base64", "preflightCommitment": "confirmed"}))

    async def _all_told(self) -> None:
        try:
            async with asyncio.timeout(NEWS_S_MAX):
                await self._told_all.wait()
        except TimeoutError:
            return  # what is missing is counted as lost

    async def _rpc(self, method: str, *params: Any) -> Any:
        body = {"jsonrpc": "2.0", "id": 1, "method": method, "params": list(params)}
        async with self.http.post(self.plan.rpc_url, json=body) as response:
            answer = await response.json()
        assert "result" in answer, answer
        return answer["result"]

    @asynccontextmanager
    async def _receiving(self) -> AsyncIterator[str]:
        """Where the ledger posts to; the bytes go on, and the moment of the answer is kept."""

        async def hand_on(request: web.Request) -> web.Response:
            body = await request.read()
            status = await self._post(body)
            answered_s = monotonic_s()
            for item in json.loads(body):
                market_id = self.markets_of.get(item["transaction"]["signatures"][0])
                if market_id is not None and status == 200:
                    self.answered_s.setdefault(market_id, answered_s)
            return web.Response(status=status)

        app = web.Application(client_max_size=BODY_BYTES_MAX)
        app.router.add_post("/", hand_on)
        runner = web.AppRunner(app)
        await runner.setup()
        await web.TCPSite(runner, LOOPBACK, 0).start()
        try:
            yield f"http://{LOOPBACK}:{runner.addresses[0][1]}/"
        finally:
            await runner.cleanup()

    @asynccontextmanager
    async def _listening(self) -> AsyncIterator[None]:
        """As browsers do: market channels over WebSockets, until told otherwise."""
        groups = [
            self.plan.markets[start : start + CHANNELS_MAX] for start in range(0, len(self.plan.markets), CHANNELS_MAX)
        ]
        ready = [asyncio.Event() for _ in groups]
        tasks = [asyncio.create_task(self._listen(group, event)) for group, event in zip(groups, ready, strict=True)]
        try:
            async with asyncio.timeout(NEWS_S_MAX):
                await asyncio.gather(*(event.wait() for event in ready))
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _listen(self, markets: list[str], ready: asyncio.Event) -> None:
        channels = ",".join(f"market_{market}" for market in markets)
        headers = {"authorization": f"Bearer {self.plan.token}"}
        snapshots = 0
        async with self.http.ws_connect(f"{self.plan.ws_url}?channels={channels}", headers=headers) as socket:
            async for frame in socket:
                message = json.loads(frame.data)
                snapshots += message["type"] == "SNAPSHOT"
                if snapshots == len(markets):
                    ready.set()
                if message["type"] == "STATE_CHANGED":
                    self._heard(MarketId(message["channel"].removeprefix("market_")))

    def _heard(self, market_id: MarketId) -> None:
        self.told_s.setdefault(market_id, monotonic_s())
        if len(self.told_s) == len(self.plan.markets):
            self._told_all.set()


async def probe(folder: Path) -> Figures:
    """Run what the folder's plan says."""
    plan = ProbePlan(**json.loads((folder / PLAN).read_text()))
    bodies = (folder / "bodies.jsonl").read_bytes().splitlines()
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as http:
        return await Probe(plan, bodies, http).run()


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        sys.stdout.write(json.dumps(runner.run(probe(Path(sys.argv[1])))))
