"""Texts encoded once into WebSocket frames, and the one function that writes such frames to a socket.

A server's frames carry no mask and, with compression off, nothing of the connection: all subscribers share the bytes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version

from websockets.asyncio.server import ServerConnection, broadcast
from websockets.protocol import OPEN

MEASURED_WITH = "15."
"""The library's version whose insides `write_packets` relies on; with another one it uses `broadcast()` alone."""

_TEXT_FRAME = 0x81
_LENGTH_16, _LENGTH_64 = 126, 127
_raw_allowed = version("websockets").startswith(MEASURED_WITH)


@dataclass(frozen=True, slots=True)
class Packet:
    """Text messages and the same messages as frames, one after the other."""

    texts: tuple[str, ...]
    frames: bytes


PING = Packet((), b"\x89\x00")
"""A ping without a payload: it shares the write of the messages that go with it."""


def packet(text: str) -> Packet:
    """One message, encoded."""
    return Packet((text,), text_frame(text.encode()))


def joined(packets: Sequence[Packet]) -> Packet:
    """Several as one, which costs a socket one write."""
    if len(packets) == 1:
        return packets[0]
    texts = tuple(text for each in packets for text in each.texts)
    return Packet(texts, b"".join([each.frames for each in packets]))


def text_frame(body: bytes) -> bytes:
    """A whole, unmasked text frame (RFC 6455, 5.2)."""
    length = len(body)
    if length < _LENGTH_16:
        return bytes((_TEXT_FRAME, length)) + body
    if length < 1 << 16:
        return bytes((_TEXT_FRAME, _LENGTH_16)) + length.to_bytes(2, "big") + body
    return bytes((_TEXT_FRAME, _LENGTH_64)) + length.to_bytes(8, "big") + body


def write_packets(socket: ServerConnection, packets: Sequence[Packet], raw_allowed: bool = _raw_allowed) -> None:
    """Queue packets in order without waiting; a socket that is closing takes none.

    The frames go to the transport past the library, in one write, only while it has nothing of its own under way; else,
    and with a version that was not measured, `broadcast()` writes message after message, a system call each.
    """
    protocol = socket.protocol
    if protocol.state is not OPEN:
        return
    if raw_allowed and socket.fragmented_send_waiter is None and not protocol.writes and not protocol.extensions:
        frames = packets[0].frames if len(packets) == 1 else b"".join([each.frames for each in packets])
        socket.transport.write(frames)
        return
    for each in packets:
        _write_by_library(socket, each)


def _write_by_library(socket: ServerConnection, each: Packet) -> None:
    if each is PING:
        socket.protocol.send_ping(b"")
        socket.send_data()
    for text in each.texts:
        broadcast((socket,), text)
