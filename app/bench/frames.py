"""A client of one unary method that does nothing but HTTP/2 frames: a tenth of the CPU of grpc's own.

A load generator on the machine that it measures takes from what it measures. grpc's Python client costs as much as its
server; this one knows one method, one connection, and answers that fit a frame, so a call costs it about 20 us.
RFC 9113 (frames), RFC 7541 (header compression), and grpc's "PROTOCOL-HTTP2".
"""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, RST_STREAM, SETTINGS, PING, GOAWAY, WINDOW_UPDATE = 0, 1, 3, 4, 6, 7, 8
END_STREAM, ACK, END_HEADERS = 0x1, 0x1, 0x4
WINDOW = 2**31 - 1 - 65_535
"""Asked for once, so that no answer ever waits for us."""
ANSWER_S_MAX = 30.0
READ_BYTES = 256 * 1024
_LAST_ADDED = 62
"""The index of the header that went last into the dynamic table; those before it follow."""
_FIXED = b"\x83\x86"  # :method POST, :scheme http
_AUTHORIZATION = b"\x0f\x08"  # not indexed, its name is entry 23: each wallet has another token


class CallFailed(Exception):
    """The server ended the connection or a call in a way that no answer came of."""


@dataclass(slots=True)
class Answers:
    """What came back: each answered message with how long it took, and how many calls were refused."""

    messages: list[bytes] = field(default_factory=list)
    latencies_s: list[float] = field(default_factory=list)
    finished_s: list[float] = field(default_factory=list)
    refused: int = 0


class Caller:
    """One connection to one method; use it from one thread and close it."""

    def __init__(self, host: str, port: int, path: str) -> None:
        self._socket = socket.create_connection((host, port), timeout=ANSWER_S_MAX)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._fresh: tuple[tuple[bytes, bytes], ...] = (
            (b":path", path.encode()),
            (b":authority", f"{host}:{port}".encode()),
            (b"content-type", b"application/grpc"),
            (b"te", b"trailers"),
            (b"grpc-timeout", b"20S"),
            (b"user-agent", b"zmart-bench"),
        )
        self._known = _FIXED + bytes(0x80 | (_LAST_ADDED + age) for age in reversed(range(len(self._fresh))))
        self._unread = b""
        self._stream = 1
        self._started: dict[int, float] = {}
        self._bodies: dict[int, bytes] = {}
        self._out: list[bytes] = [PREFACE, _frame(SETTINGS, 0, 0, b""), _frame(WINDOW_UPDATE, 0, 0, _u32(WINDOW))]
        self.answers = Answers()

    def close(self) -> None:
        """End the connection."""
        self._socket.close()

    def call_for(self, requests: Iterator[tuple[bytes, bytes]], at_once: int, seconds: float) -> None:
        """Keep `at_once` calls open for `seconds`, each with the next token and message; return with all answered."""
        until_s = time.perf_counter() + seconds
        while self._started or time.perf_counter() < until_s:
            while len(self._started) < at_once and time.perf_counter() < until_s:
                request = next(requests, None)
                if request is None:
                    until_s = 0.0
                    break
                self._begin(*request)
            self._flush()
            self._read()

    def _begin(self, token: bytes, message: bytes) -> None:
        headers = self._known
        if self._fresh:
            headers = _FIXED + b"".join(b"\x40" + _text(name) + _text(value) for name, value in self._fresh)
            self._fresh = ()
        headers += _AUTHORIZATION + _text(b"Bearer " + token)
        body = b"\0" + _u32(len(message)) + message
        self._out.append(_frame(HEADERS, END_HEADERS, self._stream, headers))
        self._out.append(_frame(DATA, END_STREAM, self._stream, body))
        self._started[self._stream] = time.perf_counter()
        self._stream += 2

    def _flush(self) -> None:
        self._socket.sendall(b"".join(self._out))
        self._out.clear()

    def _read(self) -> None:
        if not self._started:
            return
        received = self._socket.recv(READ_BYTES)
        if not received:
            raise CallFailed("the server closed the connection")
        unread, start = self._unread + received, 0
        while len(unread) - start >= 9:
            end = start + 9 + int.from_bytes(unread[start : start + 3], "big")
            if end > len(unread):
                break
            stream = int.from_bytes(unread[start + 5 : start + 9], "big")
            self._take(unread[start + 3], unread[start + 4], stream, unread[start + 9 : end])
            start = end
        self._unread = unread[start:]

    def _take(self, kind: int, flags: int, stream: int, payload: bytes) -> None:
        if kind == DATA:
            self._bodies[stream] = self._bodies.get(stream, b"") + payload
        elif kind == HEADERS and flags & END_STREAM:
            self._end(stream)
        elif kind in (SETTINGS, PING) and not flags & ACK:
            self._out.append(_frame(kind, ACK, 0, payload if kind == PING else b""))
        elif kind in (RST_STREAM, GOAWAY):
            raise CallFailed(f"frame {kind} on stream {stream}: {payload!r}")

    def _end(self, stream: int) -> None:
        """A call that was refused has trailers only."""
        now = time.perf_counter()
        began, body = self._started.pop(stream), self._bodies.pop(stream, b"")
        if not body:
            self.answers.refused += 1
            return
        self.answers.messages.append(body[5:])
        self.answers.latencies_s.append(now - began)
        self.answers.finished_s.append(now)


def _frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    return len(payload).to_bytes(3, "big") + bytes((kind, flags)) + _u32(stream) + payload


def _u32(number: int) -> bytes:
    return number.to_bytes(4, "big")


def _text(text: bytes) -> bytes:
    """A string of RFC 7541 5.2, not Huffman-coded: its length with a prefix of seven bits, then itself."""
    length = len(text)
    if length < 127:
        return bytes((length,)) + text
    prefix, length = b"\x7f", length - 127
    while length >= 128:
        prefix += bytes((length % 128 + 128,))
        length //= 128
    return prefix + bytes((length,)) + text
