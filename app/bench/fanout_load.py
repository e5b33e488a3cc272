"""Thousands of WebSocket clients in one process, as light as Python allows: epoll, one buffer, no frames parsed.

Run as `python -m app.bench.fanout_load PORT COUNT SUBSCRIBED`: opens COUNT sockets, the first SUBSCRIBED of them
to one market, and prints a line once all are open. Then each line of stdin is answered with one of JSON: `?` with what
came since it was asked last, `replace N` once the N oldest sockets are closed and as many are open anew, `stuck N` once
N more are subscribed that never read. Messages are counted by their type and timed by the `sent_ns` in them.
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
REST_S = 0.002
"""Between two looks. Clients are elsewhere in life; one that wakes for each message has the server pay its wake-ups."""
RECEIVE_BYTES = 262_144
STUCK_RECEIVE_BYTES = 4_096
_PING = b"\x89\x00"
_PONG = b"\x8a\x80" + bytes(4)
"""Without a payload, and masked with zeros."""
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
        self._stuck: list[socket.socket] = []
        self._halved: set[int] = set()
        """Whose last bytes ended with the first half of a ping."""
        self._seen = _Seen()
        self._opened = 0

    def open(self, count: int, subscribed: int) -> None:
        """Connect all, some at a time; what is open already is served meanwhile."""
        for begin in range(0, count, OPENED_AT_ONCE):
            for index in range(begin, min(begin + OPENED_AT_ONCE, count)):
                self._connect(index < subscribed)
            while self._opening:
                self.serve(1.0)

    def replace(self, count: int) -> None:
        """Close the oldest without a word, as phones do, and open as many; half of them subscribe."""
        for fd in list(self._sockets)[:count]:
            self._forget(fd)
        self.open(count, count // 2)

    def stick(self, count: int) -> None:
        """Open some more that subscribe and then take as little as the kernel lets them."""
        for _ in range(count):
            client = socket.socket()
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, STUCK_RECEIVE_BYTES)
            client.settimeout(60)
            client.connect((LOOPBACK, self._port))
            self._shake_hands(client, True)
            self._stuck.append(client)

    def close(self) -> None:
        """End all of them."""
        for fd in list(self._sockets):
            self._forget(fd)
        self._epoll.close()

    def serve(self, timeout_s: float) -> None:
        """Read whatever has come."""
        for fd, _events in self._epoll.poll(timeout_s):
            if fd in self._sockets:
                self._read(fd)

    def answer(self) -> Figures:
        """What came since the last call."""
        seen, self._seen = self._seen, _Seen()
        return seen.figures

    def _forget(self, fd: int) -> None:
        self._epoll.unregister(fd)
        self._sockets.pop(fd).close()
        self._halved.discard(fd)
        self._opening.pop(fd, None)

    def _connect(self, subscribes: bool) -> None:
        client = socket.create_connection((LOOPBACK, self._port), timeout=60)
        self._shake_hands(client, subscribes)
        client.setblocking(False)
        self._sockets[client.fileno()] = client
        self._opening[client.fileno()] = _SNAPSHOT if subscribes else _OPEN
        self._epoll.register(client, select.EPOLLIN)

    def _shake_hands(self, client: socket.socket, subscribes: bool) -> None:
        self._opened += 1
        path = f"/ws?channels={CHANNEL}" if subscribes else "/ws"
        client.sendall(
            f"GET {path} HTTP/1.1\r\nHost: bench\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
            f"Authorization: Bearer wallet-{os.getpid()}-{self._opened}\r\n"
            "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n\r\n".encode()
        )

    def _read(self, fd: int) -> None:
        try:
            chunk = self._sockets[fd].recv(RECEIVE_BYTES)
        except ConnectionResetError:
            chunk = b""
        if not chunk:
            self._forget(fd)
            self._seen.closed += 1
        elif pings := self._pings(fd, chunk):
            self._sockets[fd].send(_PONG * pings)
        self._count(chunk)
        if (wanted := self._opening.get(fd)) and wanted in chunk:
            del self._opening[fd]

    def _count(self, chunk: bytes) -> None:
        if count := chunk.count(_UPDATE):
            self._seen.messages += count
            at = chunk.rfind(_SENT) + len(_SENT)
            self._seen.waits_ns.append(time.time_ns() - int(chunk[at : chunk.index(b",", at)]))

    def _pings(self, fd: int, chunk: bytes) -> int:
        """How many pings are in it, wherever: both servers' have no payload, and their JSON is ASCII."""
        if fd in self._halved:
            chunk = _PING[:1] + chunk
            self._halved.discard(fd)
        if chunk.endswith(_PING[:1]):
            self._halved.add(fd)
        return chunk.count(_PING)


def main(port: int, count: int, subscribed: int) -> None:
    """Until stdin ends."""
    clients = Clients(port)
    clients.open(count, subscribed)
    _say({"open": count})
    questions = sys.stdin.fileno()
    os.set_blocking(questions, False)
    while (line := _line(questions)) != b"":
        if line:
            _obey(clients, *line.split())
        clients.serve(0.02)
        time.sleep(REST_S)


def _obey(clients: Clients, word: bytes, count: bytes = b"0") -> None:
    if word == b"?":
        _say(clients.answer())
    elif word == b"replace":
        clients.replace(int(count))
        _say({"open": int(count)})
    else:
        clients.stick(int(count))
        _say({"stuck": int(count)})


def _line(fd: int) -> bytes | None:
    """None when there is none yet, nothing when there will be none."""
    try:
        return os.read(fd, 64)
    except BlockingIOError:
        return None


def _say(answer: Figures) -> None:
    print(json.dumps(answer), flush=True)  # noqa: T201 - how the bench learns it


if __name__ == "__main__":
    main(*map(int, sys.argv[1:4]))
