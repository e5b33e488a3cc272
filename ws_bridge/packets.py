"""Texts encoded once into WebSocket frames.

A server's frames carry no mask and, with compression off, nothing of the connection: all subscribers share the bytes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

_TEXT_FRAME = 0x81
_LENGTH_16, _LENGTH_64 = 126, 127


@dataclass(frozen=True, slots=True)
class Packet:
    """Text messages and the same messages as frames, one after the other."""

    texts: tuple[str, ...]
    frames: bytes
    pings: bool = False
    """Whether a ping comes after the texts."""


PING = Packet((), b"\x89\x00", pings=True)
"""A ping without a payload: it shares the write of the messages that go with it."""


def packet(text: str) -> Packet:
    """One message, encoded."""
    return Packet((text,), text_frame(text.encode()))


def joined(packets: Sequence[Packet]) -> Packet:
    """Several as one, which costs a socket one write."""
    if len(packets) == 1:
        return packets[0]
    texts = tuple(text for each in packets for text in each.texts)
    return Packet(texts, b"".join([each.frames for each in packets]), any(each.pings for each in packets))


def text_frame(body: bytes) -> bytes:
    """A whole, unmasked text frame (RFC 6455, 5.2)."""
    length = len(body)
    if length < _LENGTH_16:
        return bytes((_TEXT_FRAME, length)) + body
    if length < 1 << 16:
        return bytes((_TEXT_FRAME, _LENGTH_16)) + length.to_bytes(2, "big") + body
    return bytes((_TEXT_FRAME, _LENGTH_64)) + length.to_bytes(8, "big") + body
