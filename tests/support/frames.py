"""HTTP/2 by hand, for what no client library would send: streams that are begun and dropped, headers without an end."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_DATA, _HEADERS, _RST_STREAM, _SETTINGS = 0, 1, 3, 4
_END_HEADERS = 4
_CANCEL = 8


def hello() -> bytes:
    """What a client begins with."""
    return PREFACE + _frame(_SETTINGS, 0, 0, b"")


def headers(stream: int, path: str, more: Mapping[str, str] | None = None) -> bytes:
    """A gRPC call whose message has yet to come; names and values are shorter than 127 bytes."""
    fields = {
        ":method": "POST",
        ":scheme": "http",
        ":path": path,
        ":authority": "localhost",
        "content-type": "application/grpc",
        "te": "trailers",
        **(more or {}),
    }
    block = b"".join(b"\x00" + _text(name) + _text(value) for name, value in fields.items())
    return _frame(_HEADERS, _END_HEADERS, stream, block)


def data(stream: int, payload: bytes) -> bytes:
    """Part of a body that goes on."""
    return _frame(_DATA, 0, stream, payload)


def reset(stream: int) -> bytes:
    """The end of a stream that nobody wants any more."""
    return _frame(_RST_STREAM, 0, stream, _CANCEL.to_bytes(4, "big"))


async def sent(host: str, port: int, payload: bytes) -> asyncio.StreamWriter:
    """A connection with `payload` written to it, as far as the peer takes it."""
    _, writer = await asyncio.open_connection(host, port)
    writer.write(payload)
    with contextlib.suppress(ConnectionError):  # it has had enough, which is an answer
        await writer.drain()
    return writer


def _frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    return len(payload).to_bytes(3, "big") + bytes((kind, flags)) + stream.to_bytes(4, "big") + payload


def _text(text: str) -> bytes:
    """Neither indexed nor Huffman coded."""
    raw = text.encode()
    return bytes((len(raw),)) + raw
