"""Several bridges on one port: each reads the feed itself, and what one of them had, another one continues."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator

import pytest
from redis.typing import EncodableT, FieldT
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidMessage

from app.bench.fanout_load import CHANNEL
from app.embedded.loopback import free_port
from app.exec_child import guarded
from tests.support.eventually import eventually_async
from tests.support.feed import Browser
from tests.support.valkey import ValkeyServer
from ws_bridge import FEED_STREAM

CLIENTS = 16
"""Two bridges share them by the kernel's hash; that one gets all happens once in 30,000 runs."""


@contextlib.contextmanager
def bridge_process(redis_url: str, port: int) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-m", "app.bench.fanout_bridge", redis_url, str(port)]
    with subprocess.Popen(guarded(command, signal.SIGKILL), stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert int(process.stdout.readline()) == port
        try:
            yield process
        finally:
            process.kill()


@pytest.fixture
def url_and_processes(valkey: ValkeyServer) -> Iterator[tuple[str, list[subprocess.Popen[str]]]]:
    port = free_port()
    with bridge_process(valkey.url, port) as first, bridge_process(valkey.url, port) as second:
        yield f"ws://127.0.0.1:{port}/ws", [first, second]


class Follower:
    """A client that reconnects with what it holds."""

    def __init__(self, url: str, number: int) -> None:
        self.url, self.token = url, f"wallet-{number}"
        self.applied: list[int] = []
        self.recovered: list[bool] = []

    async def follow(self, last: int) -> None:
        """Until message `last`, over however many connections."""
        while not self.applied or self.applied[-1] < last:
            with contextlib.suppress(ConnectionClosed, InvalidMessage, OSError):  # it may die at any word
                async with self._connected() as browser:
                    await self._apply(browser, last)

    async def _apply(self, browser: Browser, last: int) -> None:
        await browser.expect("WELCOME")
        resume = {CHANNEL: {"epoch": "bench", "seq": self.applied[-1]}} if self.applied else {}
        await browser.say("subscribe", channels=[CHANNEL], resume=resume)
        self.recovered.append((await browser.next())["recovered"])
        while not self.applied or self.applied[-1] < last:
            message = await browser.next()
            if message["type"] in ("SNAPSHOT", "VOTE_UPDATE"):
                self.applied.append(message["seq"])

    @contextlib.asynccontextmanager
    async def _connected(self) -> AsyncIterator[Browser]:
        async with connect(self.url, additional_headers={"Authorization": f"Bearer {self.token}"}) as socket:
            yield Browser(socket)


async def publish(valkey: ValkeyServer, *seqs: int) -> None:
    async with valkey.client() as client:
        for seq in seqs:
            entry: dict[FieldT, EncodableT] = {"channel": CHANNEL, "epoch": "bench", "seq": seq, "type": "VOTE_UPDATE"}
            await client.xadd(FEED_STREAM, {**entry, "timestamp": "t", "payload": '{"likes": 1}'})


async def all_hold(followers: list[Follower], seq: int) -> bool:
    return all(follower.applied and follower.applied[-1] >= seq for follower in followers)


async def test_clients_of_a_killed_bridge_resume_at_the_other_with_nothing_lost(
    valkey: ValkeyServer, url_and_processes: tuple[str, list[subprocess.Popen[str]]]
) -> None:
    url, processes = url_and_processes
    followers = [Follower(url, number) for number in range(CLIENTS)]
    following = [asyncio.create_task(follower.follow(10)) for follower in followers]
    await eventually_async(lambda: all_hold(followers, 0), timeout_s=60)
    await publish(valkey, 1, 2, 3, 4, 5)
    await eventually_async(lambda: all_hold(followers, 5), timeout_s=60)
    processes[0].kill()
    await publish(valkey, 6, 7, 8, 9, 10)
    async with asyncio.timeout(60):
        await asyncio.gather(*following)
    assert [follower.applied for follower in followers] == [list(range(11))] * CLIENTS
    assert all(follower.recovered[0] is False and all(follower.recovered[1:]) for follower in followers)
