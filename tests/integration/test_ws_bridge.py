"""The bridge with real sockets, a real Valkey and the notifier between them."""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import pytest
from websockets.asyncio.client import connect

from tests.support.eventually import eventually_async
from tests.support.feed import MARKET, NOW_S, UNKNOWN_MARKET, Book, Browser, Pass, Passes
from tests.support.valkey import ValkeyServer
from ws_bridge import Bridge, BridgeSettings, RedisFeed, Relay

CHANNEL = f"market_{MARKET}"
VOTES = f"votes_{MARKET}"


@dataclass
class Running:
    """A bridge and a notifier over one book."""

    book: Book
    bridge: Bridge
    valkey: ValkeyServer

    @contextlib.asynccontextmanager
    async def browser(self, path: str = "/ws", token: str | None = "good", **options: Any) -> AsyncIterator[Browser]:
        headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        url = f"ws://127.0.0.1:{self.bridge.port}{path}"
        async with connect(url, additional_headers=headers, compression=None, **options) as socket:
            yield Browser(socket)

    @contextlib.asynccontextmanager
    async def notifier(self) -> AsyncIterator[None]:
        stop = asyncio.Event()
        task = asyncio.create_task(Relay(self.book, self.valkey.url).run(stop))
        try:
            yield
        finally:
            stop.set()
            await task


@pytest.fixture
async def running(valkey: ValkeyServer) -> AsyncIterator[Running]:
    book = Book()
    book.open(CHANNEL, VOTES)
    passes = Passes(good=Pass())
    bridge = Bridge(BridgeSettings(), RedisFeed(valkey.url), book, passes, lambda: NOW_S, random.Random(1))
    await bridge.start()
    try:
        yield Running(book, bridge, valkey)
    finally:
        await bridge.stop(grace_s=2.0)


async def test_a_subscriber_gets_a_snapshot_and_then_every_message_in_order(running: Running) -> None:
    running.book.commit(CHANNEL)
    async with running.notifier(), running.browser(f"/ws?channels={CHANNEL}") as browser:
        _, confirmed, snapshot = await browser.expect("WELCOME", "SUBSCRIPTION_CONFIRMED", "SNAPSHOT")
        assert (confirmed["channel"], confirmed["epoch"], confirmed["recovered"]) == (CHANNEL, "e1", False)
        assert (snapshot["seq"], snapshot["likes"]) == (1, 1)
        running.book.commit(CHANNEL)
        running.book.commit(CHANNEL, "STATE_CHANGED")
        update, changed = await browser.expect("VOTE_UPDATE", "STATE_CHANGED")
        assert [(m["epoch"], m["seq"], m["likes"]) for m in (update, changed)] == [("e1", 2, 2), ("e1", 3, 3)]
        assert update["timestamp"].endswith("Z")
