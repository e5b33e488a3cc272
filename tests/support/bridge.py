"""A bridge and its notifier over in-memory twins and a real Valkey."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

from websockets.asyncio.client import connect

from tests.support.feed import NOW_S, Book, Browser, Passes
from tests.support.valkey import ValkeyServer
from ws_bridge import Bridge, BridgeSettings, RedisFeed, Relay
from ws_bridge.ports import Progress


@dataclass
class RunningBridge:
    """Everything between a commit and a browser."""

    book: Book
    bridge: Bridge
    valkey: ValkeyServer

    @property
    def url(self) -> str:
        """Without a path."""
        return f"ws://127.0.0.1:{self.bridge.port}"

    @contextlib.asynccontextmanager
    async def browser(self, path: str = "/ws", bearer: str | None = "good", **options: Any) -> AsyncIterator[Browser]:
        """A connected client; `bearer` goes into the Authorization header."""
        headers = {} if bearer is None else {"Authorization": f"Bearer {bearer}"}
        async with connect(self.url + path, additional_headers=headers, **options) as socket:
            yield Browser(socket)

    @contextlib.asynccontextmanager
    async def notifier(self) -> AsyncIterator[None]:
        """A notifier that runs for a while."""
        stop = asyncio.Event()
        task = asyncio.create_task(Relay(self.book, self.valkey.url).run(stop))
        try:
            yield
        finally:
            stop.set()
            await task


@contextlib.asynccontextmanager
async def running_bridge(
    valkey: ValkeyServer, book: Book, settings: BridgeSettings | None = None, progress: Progress | None = None
) -> AsyncIterator[RunningBridge]:
    """A bridge of this process, stopped at the end."""
    rng = random.Random(1)
    loop = asyncio.get_running_loop()
    started_s = loop.time()

    def wall_s() -> float:
        return NOW_S + loop.time() - started_s

    bridge = Bridge(settings or BridgeSettings(), RedisFeed(valkey.url), book, Passes(), wall_s, rng, progress)
    await bridge.start()
    try:
        yield RunningBridge(book, bridge, valkey)
    finally:
        await bridge.stop(grace_s=2.0)
