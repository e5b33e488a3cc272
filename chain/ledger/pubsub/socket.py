"""The WebSocket around the hub: one bounded outbox and one writer for each connection."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

import structlog
from aiohttp import WSMsgType, web

from chain.ledger.pubsub.hub import Client, Hub

CLIENTS_MAX = 1_000
"""Open connections; one more is refused with 503."""
OUTBOX_BYTES_MAX = 4 * 1024 * 1024
"""What may wait for one client; a client this slow is cut off."""
MESSAGE_BYTES_MAX = 50 * 1024
PING_EVERY_S = 30.0
"""A connection that answers no ping for half of this is closed."""

_log = structlog.get_logger(__name__)


class Outbox:
    """What waits for one client, oldest first; never blocks whoever puts something in."""

    def __init__(self, socket: web.WebSocketResponse, cut: Callable[[], None], bytes_max: int) -> None:
        self._socket = socket
        self._cut = cut
        self._bytes_max = bytes_max
        self._waiting: deque[str] = deque()
        self._bytes = 0
        self._filled = asyncio.Event()
        self.is_overrun = False

    def put(self, text: str) -> None:
        """Queue `text`; beyond the bound the connection is cut at once, without the farewell it would not read."""
        if self.is_overrun:
            return
        self._bytes += len(text)
        if self._bytes > self._bytes_max:
            self.is_overrun = True
            self._waiting.clear()
            _log.warning("ledger.pubsub_client_too_slow", bytes_max=self._bytes_max)
            self._cut()
            return
        self._waiting.append(text)
        self._filled.set()

    async def write(self) -> None:
        """Write until cancelled or until the client is gone."""
        while True:
            await self._filled.wait()
            self._filled.clear()
            while self._waiting:
                text = self._waiting.popleft()
                try:
                    await self._socket.send_str(text)
                except ConnectionError:
                    return
                self._bytes -= len(text)


class _Connections:
    """Open connections of one hub."""

    def __init__(self, hub: Hub, outbox_bytes_max: int) -> None:
        self._hub = hub
        self._outbox_bytes_max = outbox_bytes_max
        self._open: set[web.WebSocketResponse] = set()

    async def serve(self, request: web.Request) -> web.StreamResponse:
        """Serve one client until it leaves, is too slow, or the ledger stops."""
        if len(self._open) >= CLIENTS_MAX:
            return web.Response(status=503)
        socket = web.WebSocketResponse(max_msg_size=MESSAGE_BYTES_MAX, heartbeat=PING_EVERY_S, compress=False)
        await socket.prepare(request)
        transport = request.transport
        if transport is None:
            return socket
        outbox = Outbox(socket, transport.abort, self._outbox_bytes_max)
        client = Client(outbox.put)
        writer = asyncio.create_task(outbox.write())
        self._open.add(socket)
        try:
            await self._listen(socket, client)
        finally:
            self._open.discard(socket)
            self._hub.forget(client)
            writer.cancel()
            await asyncio.gather(writer, return_exceptions=True)
        return socket

    async def close(self, _application: web.Application) -> None:
        """Say goodbye to everybody."""
        await asyncio.gather(*(socket.close(code=1001) for socket in self._open), return_exceptions=True)

    async def _listen(self, socket: web.WebSocketResponse, client: Client) -> None:
        async for message in socket:
            if message.type is WSMsgType.TEXT:
                self._hub.hear(client, message.data)
            elif message.type is WSMsgType.BINARY:
                await socket.close(code=1003)


def pubsub_application(hub: Hub, outbox_bytes_max: int = OUTBOX_BYTES_MAX) -> web.Application:
    """The WebSocket server of a hub, on `/`."""
    connections = _Connections(hub, outbox_bytes_max)
    application = web.Application()
    application.router.add_get("/", connections.serve)
    application.on_shutdown.append(connections.close)
    return application
