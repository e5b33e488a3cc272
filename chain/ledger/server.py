"""The shell around the ledger: HTTP and WebSocket servers, a slot clock, and signals.

Everything it decides is how bytes come in and when a slot ends; all else is `node.py` and `rpc/`.
"""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import structlog
from aiohttp import web
from solders.pubkey import Pubkey

from chain.ledger.node import Node, Place, open_node
from chain.ledger.pubsub import Hub, pubsub_application
from chain.ledger.rpc import answer
from chain.ledger.settings import LedgerSettings
from chain.ledger.webhooks import Webhooks

REQUEST_BYTES_MAX = 50 * 1024
"""A real node's limit for one HTTP body."""
CATCH_UP_SLOTS_MAX = 150
"""Slots made up for after a stall; a machine that slept for hours goes on from there."""
CORS_MAX_AGE_S = 86_400
"""How long a browser remembers that it may ask, as on a real node."""
SHUTDOWN_S = 2.0
"""How long requests in flight may take once the ledger stops."""

_NODE: web.AppKey[Node] = web.AppKey("node", Node)
_log = structlog.get_logger(__name__)

WallClock = Callable[[], float]


class Ledger:
    """A running ledger: its address, its node, and slots by hand."""

    def __init__(self, node: Node, settings: LedgerSettings, wall_clock: WallClock) -> None:
        self.ticking: asyncio.Task[None] | None = None
        """The slot clock; it ends only by failing."""
        self.node = node
        self.hub = Hub(node)
        self.webhooks = Webhooks(node)
        node.watchers += [self.hub, self.webhooks]
        self.settings = settings
        self.rpc_port = 0
        self.pubsub_port = 0
        self._wall_clock = wall_clock

    @property
    def rpc_url(self) -> str:
        """Where clients connect."""
        return f"http://{self.settings.host}:{self.rpc_port}"

    @property
    def pubsub_url(self) -> str:
        """Where subscribers connect."""
        return f"ws://{self.settings.host}:{self.pubsub_port}"

    def tick(self, slots: int = 1) -> None:
        """Let `slots` slots go by now."""
        for _ in range(slots):
            self.node.tick(int(self._wall_clock()))


@asynccontextmanager
async def running_ledger(
    data_dir: Path,
    rpc_port: int = 0,
    slot_ms: int = 400,
    settings: LedgerSettings | None = None,
    wall_clock: WallClock = time.time,
) -> AsyncIterator[Ledger]:
    """Run a ledger inside this process; at the end it has answered what was in flight and its file is closed.

    Raises `LedgerRefused` when the data dir belongs to another program id, `OSError` when the port is taken.
    """
    chosen = settings or LedgerSettings(data_dir=data_dir, rpc_port=rpc_port, pubsub_port=0, slot_ms=slot_ms)
    place = Place(chosen.data_dir, Pubkey.from_string(chosen.program_id), chosen.build, chosen.sell_mode)
    node = open_node(place, int(wall_clock()), os.urandom(32))
    async with AsyncExitStack() as stack:
        stack.callback(node.close)
        ledger = Ledger(node, chosen, wall_clock)
        await stack.enter_async_context(ledger.webhooks.running())
        # PubSub first: whoever waits until RPC answers finds both
        ledger.pubsub_port = await _listen(stack, pubsub_application(ledger.hub), chosen.host, chosen.pubsub_port)
        ledger.rpc_port = await _listen(stack, _application(node), chosen.host, chosen.rpc_port)
        if chosen.slot_ms:
            ledger.ticking = asyncio.create_task(_tick_slots(ledger))
            stack.push_async_callback(_end, ledger.ticking)
        yield ledger


async def _listen(stack: AsyncExitStack, application: web.Application, host: str, port: int) -> int:
    """Serve until the stack unwinds; gives the port that was taken."""
    runner = web.AppRunner(application, shutdown_timeout=SHUTDOWN_S, access_log=None)
    await runner.setup()
    stack.push_async_callback(runner.cleanup)
    await web.TCPSite(runner, host, port).start()
    addresses: list[Any] = runner.addresses
    return int(addresses[0][1])


async def _end(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def serve(settings: LedgerSettings, on_ready: Callable[[Ledger], None] = lambda _ledger: None) -> None:
    """Run a ledger until SIGTERM or SIGINT; raises when the slot clock fails, since a chain that stands still lies."""
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    async with running_ledger(settings.data_dir, settings=settings) as ledger:
        _log.info("ledger.ready", rpc_url=ledger.rpc_url, ws_url=ledger.pubsub_url, program_id=settings.program_id)
        on_ready(ledger)
        await _until(stopped, ledger.ticking)


async def _until(stopped: asyncio.Event, ticking: asyncio.Task[None] | None) -> None:
    """Wait for the signal, or raise what ended the slot clock."""
    waiting = asyncio.ensure_future(stopped.wait())
    done, _ = await asyncio.wait({waiting, *([ticking] if ticking else [])}, return_when=asyncio.FIRST_COMPLETED)
    waiting.cancel()
    if ticking in done:
        await ticking


async def _tick_slots(ledger: Ledger) -> None:
    """One slot every `slot_ms`; slots missed by a stall are made up for at once, up to a bound."""
    loop = asyncio.get_running_loop()
    period_s = ledger.settings.slot_ms / 1_000
    due = loop.time() + period_s
    while True:
        await asyncio.sleep(max(0.0, due - loop.time()))
        try:
            ledger.tick()
        except Exception:
            _log.exception("ledger.slot_failed")
            raise
        due = max(due + period_s, loop.time() - CATCH_UP_SLOTS_MAX * period_s)


def _application(node: Node) -> web.Application:
    application = web.Application(client_max_size=REQUEST_BYTES_MAX)
    application[_NODE] = node
    application.router.add_post("/", _post)
    application.router.add_options("/", _preflight)
    application.router.add_get("/health", _health)
    application.on_response_prepare.append(_allow_any_origin)
    return application


async def _post(request: web.Request) -> web.Response:
    if request.content_type != "application/json":
        text = "Supplied content type is not allowed. Content-Type: application/json is required\n"
        return web.Response(status=415, text=text)
    reply = answer(request.app[_NODE], await request.read())
    if reply.is_lost and request.transport is not None:
        request.transport.close()
    headers = {} if reply.retry_after_s is None else {"Retry-After": str(reply.retry_after_s)}
    return web.Response(body=reply.body, status=reply.status, headers=headers, content_type="application/json")


async def _preflight(request: web.Request) -> web.Response:
    """What a browser asks before it posts; a local node lets any page in, as a real one does."""
    allowed = {
        "Access-Control-Allow-Methods": "POST, GET, OPTIONS",
        "Access-Control-Allow-Headers": request.headers.get("Access-Control-Request-Headers", "*"),
        "Access-Control-Max-Age": str(CORS_MAX_AGE_S),
    }
    return web.Response(status=204, headers=allowed)


async def _allow_any_origin(_request: web.Request, response: web.StreamResponse) -> None:
    response.headers["Access-Control-Allow-Origin"] = "*"
    response.headers["Access-Control-Expose-Headers"] = "Retry-After"


async def _health(request: web.Request) -> web.Response:
    """`ok`, or how far reads lag behind, in the words of a real node's health page."""
    bank = request.app[_NODE].bank
    return web.Response(text="ok" if bank.block("processed") is bank.tip else "behind")
