"""The WebSocket server: accepts sockets, runs the feed into the hub, and ends both in order."""

from __future__ import annotations

import asyncio
import http
import json
import logging
import random
import re
import socket
from collections.abc import Callable, Coroutine, Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from heapq import nlargest
from itertools import islice
from typing import Any

from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.datastructures import Headers
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response
from websockets.typing import Origin, Subprotocol

from domain.connections import SHOWN_MAX, BridgeAnswer, BridgeOrder
from ws_bridge import frames, metrics
from ws_bridge.admission import LOOPBACK, Admission, AdmissionLimits, Networks, counted_address
from ws_bridge.alarms import Alarms
from ws_bridge.connection import Connection, Surroundings
from ws_bridge.credentials import Handshake, read_handshake, select_subprotocol, transport_logger
from ws_bridge.history import History, HistoryBounds
from ws_bridge.hub import Hub, Parcels, Taker
from ws_bridge.laggards import Laggards
from ws_bridge.ports import Batch, Feed, Progress, Snapshots, Spans, Tokens, Unspanned
from ws_bridge.progress import ProgressTeller
from ws_bridge.session import CloseCode, Limits, Session
from ws_bridge.snapshots import SnapshotDesk, SnapshotReader
from ws_bridge.sockets import PingedConnection
from ws_bridge.wires import CLOSE_TIMEOUT_S, SocketWire

INBOUND_FRAMES_MAX = 4
LOOK_EVERY_S = 1.0
NOTSENT_LOWAT_BYTES = 128 * 1024
"""Without it the kernel takes up to 4 MB for a client that reads nothing, and hides it for seconds."""
DELIVERED_AT_ONCE_MAX = 500
"""About 5 ms of writes; then sockets that want something are served before the fan-out goes on."""
DRAIN_BATCHES = 20
DRAINED_TOGETHER_MIN = 50
RECONNECT_FIRST_MS = 500
RECONNECT_SPREAD_MS = 5_000
_UNTRACED: AbstractContextManager[None] = nullcontext()

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class BridgeSettings:
    """Where to listen and what to allow; `origins` None allows every page, else a page's Origin must be listed."""

    host: str = "127.0.0.1"
    port: int = 0
    origins: Sequence[str | re.Pattern[str]] | None = None
    admission: AdmissionLimits = field(default_factory=AdmissionLimits)
    proxies: Networks = LOOPBACK
    """Whose X-Forwarded-For is believed."""
    backlog_bytes_max: int = 256 * 1024
    behind_max_s: float = 10.0
    frame_bytes_max: int = 4096
    tick_s: float = 0.01
    """How long messages gather after a fan-out before the next; the first after a silence goes at once."""
    history: HistoryBounds = field(default_factory=HistoryBounds)
    shares_port: bool = False
    """Several processes may listen on the port; the kernel spreads connections over them."""
    limits: Limits = field(default_factory=Limits)


class Bridge:
    """One process's bridge between the feed and the browsers.

    Guarantee: a subscriber sees a gapless history or is told that it starts over; no client can delay another. When the
    feed is down the sockets stay, and on its return every subscriber gets what it missed or a fresh snapshot.
    """

    def __init__(
        self,
        settings: BridgeSettings,
        feed: Feed,
        snapshots: Snapshots,
        tokens: Tokens,
        wall_s: Callable[[], float],
        rng: random.Random,
        progress: Progress | None = None,
        spans: Spans | None = None,
    ) -> None:
        self._spans = spans or Unspanned()
        self._settings, self._feed, self._snapshots, self._tokens = settings, feed, snapshots, tokens
        self._wall_s, self._rng, self._progress = wall_s, rng, progress
        self._teller: ProgressTeller | None = None
        self._telling: asyncio.Task[None] | None = None
        self._admission = Admission(settings.admission, wall_s())
        self._laggards = Laggards(settings.behind_max_s)
        self._tasks: set[asyncio.Task[None]] = set()
        self._connections: dict[Connection, None] = {}
        self._draining = False
        self._server: Server | None = None
        self._pump: asyncio.Task[None] | None = None
        self._watch: asyncio.Task[None] | None = None
        self._ringing: asyncio.Task[None] | None = None
        self._reader: SnapshotReader | None = None
        self._around: Surroundings | None = None

    @property
    def port(self) -> int:
        """The port that is being listened on."""
        assert self._server is not None
        return int(next(iter(self._server.sockets)).getsockname()[1])

    @property
    def connections(self) -> int:
        """How many sockets are open."""
        return len(self._connections)

    async def start(self) -> None:
        """Take the feed's position, then listen: no message between both can be missed. OSError: the port is taken."""
        self._reader = SnapshotReader(self._snapshots, self._wall_s)
        alarms = Alarms(asyncio.get_running_loop().time)
        self._around = self._surroundings(self._reader.desk, alarms)
        self._around.hub.remember(await self._feed.open())
        self._pump = asyncio.create_task(self._run_feed(self._around), name="feed")
        if self._progress is not None:
            self._teller = ProgressTeller(self._around.hub, self._progress, self._wall_s)
            self._telling = asyncio.create_task(self._teller.run(), name="progress")
        self._watch = asyncio.create_task(self._look(self._around), name="laggards")
        self._ringing = asyncio.create_task(alarms.run(), name="alarms")
        try:
            self._server = await self._listen()
        except OSError:
            await self.stop(grace_s=0)
            raise
        log.info("WebSocket bridge listens on port %d", self.port)

    async def failed(self) -> None:
        """Wait for the end of the tasks: returns after `stop`, raises when a bug ended one (end the process then)."""
        done, _ = await asyncio.wait(self._running(), return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            if not task.cancelled():
                task.result()

    def _running(self) -> list[asyncio.Task[None]]:
        return [task for task in (self._pump, self._watch, self._telling, self._ringing) if task is not None]

    async def stop(self, grace_s: float) -> None:
        """Close every socket with 1012 and a spread hint; what has not closed within `grace_s` is cut off."""
        self._draining = True
        if self._server is not None:
            self._server.close(close_connections=False)
            await self._send_away(grace_s / 2)
            await self._wait_closed(self._server, grace_s)
        for task in self._running():
            task.cancel()
            await asyncio.wait({task})
        if self._reader is not None:
            await self._reader.close()
        await self._feed.close()

    # the feed

    async def _run_feed(self, around: Surroundings) -> None:
        while True:
            batch = await self._feed.next_batch()
            ends_s = asyncio.get_running_loop().time() + self._settings.tick_s
            with metrics.FANOUT_SECONDS.time(), self._delivering(batch):
                await _deliver(around.hub.rounds(batch))
            if batch.entries:
                metrics.lagged(batch.entries[0].timestamp, self._wall_s())
            if self._teller is not None:
                self._teller.changed(around.hub.told)
            around.desk.sweep()
            around.hub.history.sweep()
            if batch.entries:
                await asyncio.sleep(max(0.0, ends_s - asyncio.get_running_loop().time()))

    def _delivering(self, batch: Batch) -> AbstractContextManager[None]:
        """A span around one batch's way to the sockets, in the trace of what published it."""
        if not batch.published_by:
            return _UNTRACED
        messages = sum(len(entry.places) for entry in batch.entries)
        attributes = {"zmart.messages": messages, "zmart.connections": len(self._connections)}
        return self._spans.work("deliver", attributes, batch.published_by)

    async def _look(self, around: Surroundings) -> None:
        """Once a second: who is stuck, and what the gauges say."""
        loop = asyncio.get_running_loop()
        while True:
            due_s = loop.time() + LOOK_EVERY_S
            await asyncio.sleep(LOOK_EVERY_S)
            metrics.LOOP_LAG_SECONDS.set(loop.time() - due_s)
            metrics.BACKLOG_HIGH_WATER.set(self._laggards.look(self._wall_s()))
            metrics.CONNECTIONS.set(len(self._connections))
            metrics.HISTORY_BYTES.set(around.hub.history.held_bytes)
            for kind, count in around.hub.listeners.items():
                metrics.SUBSCRIPTIONS.labels(kind).set(count)

    def _surroundings(self, desk: SnapshotDesk, alarms: Alarms) -> Surroundings:
        hub = Hub(desk, History(self._settings.history, asyncio.get_running_loop().time))
        return Surroundings(
            hub,
            desk,
            self._tokens,
            self._admission,
            self._laggards,
            self._wall_s,
            alarms.call_later,
            self._settings.backlog_bytes_max,
        )

    # the sockets

    async def _listen(self) -> Server:
        settings = self._settings
        origins = None if settings.origins is None else [*map(_origin, settings.origins), None]
        return await serve(
            self._serve,
            settings.host,
            settings.port,
            reuse_port=settings.shares_port or None,
            origins=origins,
            select_subprotocol=_subprotocol,
            compression=None,
            process_request=self._answer_http,
            server_header=None,
            create_connection=PingedConnection,
            ping_interval=None,  # the session pings with its heartbeat, in one write and without a task for each client
            close_timeout=CLOSE_TIMEOUT_S,
            max_size=settings.frame_bytes_max,
            max_queue=INBOUND_FRAMES_MAX,
            # `drain` must not block below our own limit: a ping behind the backlog would never be sent
            write_limit=settings.backlog_bytes_max,
            logger=transport_logger(),
        )

    async def _serve(self, socket_: ServerConnection) -> None:
        assert self._around is not None and socket_.request is not None
        handshake = _handshake(socket_.request)
        assert handshake is not None, "other paths were answered with 404"
        address = self._address(socket_)
        if refusal := self._admission.enter(address):
            metrics.REJECTS.labels(refusal).inc()
            await socket_.close(CloseCode.OVER_CAPACITY, refusal)
            return
        try:
            await self._converse(socket_, handshake)
        finally:
            self._admission.leave(address)

    async def _converse(self, socket_: ServerConnection, handshake: Handshake) -> None:
        assert self._around is not None
        _show_backlog(socket_)
        session = Session(self._settings.limits, handshake.channels, self._wall_s())
        wire = SocketWire(socket_, self._spawn)
        connection = Connection(session, wire, self._around)
        self._connections[connection] = None
        assert isinstance(socket_, PingedConnection)
        socket_.ponged, socket_.closing = connection.ponged, wire.ended
        try:
            connection.opened(handshake.token)
            async for frame in socket_:
                connection.received(frame)
        except ConnectionClosed:
            return
        finally:
            socket_.ponged = socket_.closing = None
            connection.gone()
            del self._connections[connection]

    def _address(self, socket_: ServerConnection) -> str | None:
        assert socket_.request is not None
        return counted_address(
            socket_.remote_address[0], _all(socket_.request, "X-Forwarded-For"), self._settings.proxies
        )

    def obey(self, order: BridgeOrder) -> BridgeAnswer:
        """Show connections, those furthest behind first; a kick closes them with 4001, as if the token had ended."""
        found = [each for each in self._connections if not order.wallet or each.wallet == order.wallet]
        slowest = nlargest(min(order.limit, SHOWN_MAX), found, key=lambda each: each.backlog_bytes)
        answer = BridgeAnswer(len(self._connections), len(found), tuple(each.look() for each in slowest))
        if order.is_kick:
            assert order.wallet, "nobody closes all connections"
            for each in found:
                each.close(CloseCode.UNAUTHORISED, order.reason)
        return answer

    def _answer_http(self, socket_: ServerConnection, request: Request) -> Response | None:
        if request.path.partition("?")[0] == "/healthz":
            return self._health()
        if _handshake(request) is None:
            return socket_.respond(http.HTTPStatus.NOT_FOUND, "no such path\n")
        if not self._admission.may_shake_hands(self._wall_s()):
            metrics.REJECTS.labels("rate").inc()
            return socket_.respond(http.HTTPStatus.SERVICE_UNAVAILABLE, "too many handshakes; come back in seconds\n")
        return None

    def _health(self) -> Response:
        status = http.HTTPStatus.SERVICE_UNAVAILABLE if self._draining else http.HTTPStatus.OK
        body = json.dumps({
            "status": "draining" if self._draining else "serving",
            "feed": "connected" if self._feed.connected else "disconnected",
            "connections": self.connections,
        }).encode()  # fmt: skip
        headers = Headers({
            "Content-Type": "application/json",
            "Content-Length": str(len(body)),
            "Connection": "close",
        })  # fmt: skip
        return Response(status.value, status.phrase, headers, body)

    # the end

    async def _send_away(self, within_s: float) -> None:
        """Close in batches, so that not all come back at once; few go together."""
        leaving = tuple(self._connections)
        together = max(DRAINED_TOGETHER_MIN, -(-len(leaving) // DRAIN_BATCHES))
        for begin in range(0, len(leaving), together):
            if begin:
                await asyncio.sleep(within_s / DRAIN_BATCHES)
            for connection in leaving[begin : begin + together]:
                connection.close(CloseCode.RESTART, frames.restart_reason(self._reconnect_after_ms()))

    def _reconnect_after_ms(self) -> int:
        return RECONNECT_FIRST_MS + self._rng.randrange(RECONNECT_SPREAD_MS)

    async def _wait_closed(self, server: Server, grace_s: float) -> None:
        try:
            async with asyncio.timeout(grace_s):
                await server.wait_closed()
        except TimeoutError:
            for socket_ in tuple(server.handlers):
                socket_.transport.abort()
            await server.wait_closed()
        if self._tasks:
            await asyncio.wait(self._tasks)

    def _spawn(self, coroutine: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


async def _deliver(rounds: Iterable[tuple[Taker, Parcels]]) -> None:
    """One visit to each; between some of them the loop turns."""
    visits = iter(rounds)
    while some := tuple(islice(visits, DELIVERED_AT_ONCE_MAX)):
        for taker, parcels in some:
            taker.deliver(parcels)
        await asyncio.sleep(0)


def _handshake(request: Request) -> Handshake | None:
    offered = [protocol.strip() for header in _all(request, "Sec-WebSocket-Protocol") for protocol in header.split(",")]
    return read_handshake(request.path, _all(request, "Authorization"), offered)


def _origin(allowed: str | re.Pattern[str]) -> Origin | re.Pattern[str]:
    return Origin(allowed) if isinstance(allowed, str) else allowed


def _all(request: Request, name: str) -> list[str]:
    return request.headers.get_all(name)


def _subprotocol(_socket: ServerConnection, offered: Sequence[Subprotocol]) -> Subprotocol | None:
    chosen = select_subprotocol(offered)
    return None if chosen is None else Subprotocol(chosen)


def _show_backlog(socket_: ServerConnection) -> None:
    """Ask the kernel to keep little that is unsent, so that a stuck client shows in user space after 1 s, not 10."""
    raw = socket_.transport.get_extra_info("socket")
    if raw is not None and raw.family in (socket.AF_INET, socket.AF_INET6):
        raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, NOTSENT_LOWAT_BYTES)
