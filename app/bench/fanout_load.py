"""Thousands of WebSocket clients in one process, as light as Python allows: epoll, one buffer, no frames parsed.

Run as `python -m app.bench.fanout_load PORT FIRST COUNT SUBSCRIBED`: opens COUNT sockets, the first SUBSCRIBED of them
to one market, and prints a line once all are open. Then each line of stdin is answered with one of JSON: what came
since the line before. Messages are counted by their type and timed by the `sent_ns` in them.
"""

from __future__ import annotations

import json
import os
import select
import socket
import sys
import time
from dataclasses import dataclass, field

from app.bench.harness import Figures
from app.embedded.loopback import LOOPBACK

CHANNEL = "market_" + "1" * 31 + "2"
SENT = '"sent_ns":'
OPENED_AT_ONCE = 50
RECEIVE_BYTES = 262_144
PING, PONG = 0x89, 0x8A
_PING = bytes((PING, 0))
"""Without a payload; one comes alone, or after the message that was written with it."""
_SENT = SENT.encode()
_UPDATE = b'"VOTE_UPDATE"'
_OPEN, _SNAPSHOT = b" 101 ", b'"SNAPSHOT"'


@dataclass
class _Seen:
    """What came since the last question."""

    messages: int = 0
    waits_ns: list[int] = field(default_factory=list)
    closed: int = 0

    @property
    def figures(self) -> Figures:
        return {"messages": self.messages, "waits_ns": self.waits_ns, "closed": self.closed}


class Clients:
    """The sockets of this process."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._epoll = select.epoll()
        self._sockets: dict[int, socket.socket] = {}
        self._opening: dict[int, bytes] = {}
        self._seen = _Seen()

    def open(self, first: int, count: int, subscribed: int) -> None:
        """Connect all, some at a time; what is open already is served meanwhile."""
        for begin in range(0, count, OPENED_AT_ONCE):
            for index in range(begin, min(begin + OPENED_AT_ONCE, count)):
                self._connect(first + index, index < subscribed)
            while self._opening:
                self.serve(1.0)

    def serve(self, timeout_s: float) -> None:
        """Read whatever has come."""
        for fd, _events in self._epoll.poll(timeout_s):
            if fd in self._sockets:
                self._read(fd)

    def answer(self) -> Figures:
        """What came since the last call."""
        seen, self._seen = self._seen, _Seen()
        return seen.figures

    def _connect(self, index: int, subscribes: bool) -> None:
        client = socket.create_connection((LOOPBACK, self._port), timeout=60)
        path = f"/ws?channels={CHANNEL}" if subscribes else "/ws"
        client.sendall(
            f"GET {path} HTTP/1.1\r\nHost: bench\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
            f"Authorization: Bearer wallet-{index}\r\n"
            "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n\r\n".encode()
        )
        client.setblocking(False)
        self._sockets[client.fileno()] = client
        self._opening[client.fileno()] = _SNAPSHOT if subscribes else _OPEN
        self._epoll.register(client, select.EPOLLIN)

    def _read(self, fd: int) -> None:
        try:
            chunk = self._sockets[fd].recv(RECEIVE_BYTES)
        except ConnectionResetError:
            chunk = b""
        if not chunk:
            self._epoll.unregister(fd)
            self._sockets.pop(fd).close()
            self._opening.pop(fd, None)
            self._seen.closed += 1
        elif chunk[0] == PING:
            self._pong(fd, chunk)
        elif chunk.endswith(_PING):
            self._pong(fd, _PING)
        self._count(chunk)
        if (wanted := self._opening.get(fd)) and wanted in chunk:
            del self._opening[fd]

    def _count(self, chunk: bytes) -> None:
        if count := chunk.count(_UPDATE):
            self._seen.messages += count
            at = chunk.rfind(_SENT) + len(_SENT)
            self._seen.waits_ns.append(time.time_ns() - int(chunk[at : chunk.index(b",", at)]))

    def _pong(self, fd: int, chunk: bytes) -> None:
        """Masked with zeros, which leaves the payload as it is."""
        length = chunk[1]
        self._sockets[fd].send(bytes((PONG, 0x80 | length, 0, 0, 0, 0)) + chunk[2 : 2 + length])


def main(port: int, first: int, count: int, subscribed: int) -> None:
    """Until stdin ends."""
    clients = Clients(port)
    clients.open(first, count, subscribed)
    _say({"open": count})
    questions = sys.stdin.fileno()
    os.set_blocking(questions, False)
    while (line := _line(questions)) != b"":
        if line:
            _say(clients.answer())
        clients.serve(0.02)


def _line(fd: int) -> bytes | None:
    """None when there is none yet, nothing when there will be none."""
    try:
        return os.read(fd, 64)
    except BlockingIOError:
        return None


def _say(answer: Figures) -> None:
    print(json.dumps(answer), flush=True)  # noqa: T201 - how the bench learns it


if __name__ == "__main__":
    main(*map(int, sys.argv[1:5]))
