"""Twenty clients that read nothing among five hundred: they are ended, and nobody else loses a message."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

from prometheus_client import REGISTRY

from tests.support.bridge import RunningBridge, running_bridge
from tests.support.eventually import eventually_async
from tests.support.feed import MARKET, Book
from tests.support.valkey import ValkeyServer
from ws_bridge import BridgeSettings
from ws_bridge.admission import AdmissionLimits

CHANNEL = f"market_{MARKET}"
HEALTHY, STUCK = 480, 20
RECEIVE_BYTES = 4_096
HANDSHAKE = (
    f"GET /ws?channels={CHANNEL} HTTP/1.1\r\nHost: bridge\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    "Authorization: Bearer good\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n\r\n"
).encode()


@dataclass
class Counting(asyncio.Protocol):
    """A healthy client, as light as five hundred of them have to be: it notes the numbers of the updates it is told."""

    seqs: list[int] = field(default_factory=list)
    joined: bool = False
    lost: bool = False
    _unread: bytes = b""

    async def connect(self, port: int) -> None:
        await asyncio.get_running_loop().create_connection(lambda: self, "127.0.0.1", port)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        transport.write(HANDSHAKE)

    def data_received(self, data: bytes) -> None:
        self._unread += data
        self.joined = self.joined or b'"SNAPSHOT"' in self._unread
        while (at := self._unread.find(b'"VOTE_UPDATE"')) >= 0 and (end := self._unread.find(b"}", at)) >= 0:
            self.seqs.append(int(self._unread[at:end].partition(b'"seq":')[2].partition(b",")[0]))
            self._unread = self._unread[end:]

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost = True


def slow_closes() -> float:
    return REGISTRY.get_sample_value("ws_closes_total", {"code": "4101"}) or 0.0


@contextlib.asynccontextmanager
async def stuck_clients(running: RunningBridge) -> AsyncIterator[None]:
    """Real sockets that the kernel takes little for and that nobody reads."""
    with contextlib.ExitStack() as sockets:
        for _ in range(STUCK):
            client = sockets.enter_context(socket.socket())
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BYTES)
            client.setblocking(False)
            await asyncio.get_running_loop().sock_connect(client, ("127.0.0.1", running.bridge.port))
            await asyncio.get_running_loop().sock_sendall(client, HANDSHAKE)
        yield


async def test_twenty_stuck_clients_are_closed_with_4101_and_the_others_miss_nothing(valkey: ValkeyServer) -> None:
    book = Book(filler="x" * 16_384)
    book.open(CHANNEL)
    admission = AdmissionLimits(per_wallet_max=HEALTHY + STUCK)
    closed_before = slow_closes()
    async with running_bridge(valkey, book, BridgeSettings(admission=admission)) as running, running.notifier():
        healthy = [Counting() for _ in range(HEALTHY)]
        for client in healthy:
            await client.connect(running.bridge.port)

        async def all_open() -> bool:
            return running.bridge.connections == HEALTHY + STUCK and all(client.joined for client in healthy)

        async with stuck_clients(running):
            await eventually_async(all_open, timeout_s=60)
            last = await _publish_until_closed(book, closed_before)

            async def all_have_it() -> bool:
                return all(client.seqs and client.seqs[-1] == last for client in healthy)

            await eventually_async(all_have_it, timeout_s=60)
        assert [client.seqs for client in healthy] == [list(range(1, last + 1))] * HEALTHY
        assert not any(client.lost for client in healthy)


async def _publish_until_closed(book: Book, closed_before: float) -> int:
    """Commit until all that are stuck have been told to go; the number of the last message."""
    last = 0

    async def one_more() -> bool:
        nonlocal last
        last = book.commit(CHANNEL).seq
        return slow_closes() - closed_before >= STUCK

    await eventually_async(one_more, timeout_s=60)
    return last
