"""Frames past the library and by it: a client cannot tell which, and answers pings of both."""

from __future__ import annotations

import asyncio
from functools import partial

import pytest
from websockets.asyncio.server import ServerConnection, serve

from tests.support.bridge import running_bridge
from tests.support.feed import MARKET, Book
from tests.support.valkey import ValkeyServer
from ws_bridge import BridgeSettings, Limits, server, wires
from ws_bridge.packets import packet
from ws_bridge.sockets import PingedConnection

CHANNEL = f"market_{MARKET}"


@pytest.mark.parametrize("raw_allowed", [True, False])
async def test_a_client_gets_every_message_and_answers_pings_whoever_writes_the_frames(
    valkey: ValkeyServer, monkeypatch: pytest.MonkeyPatch, raw_allowed: bool
) -> None:
    monkeypatch.setattr(server, "SocketWire", partial(wires.SocketWire, raw_allowed=raw_allowed))
    book = Book()
    book.open(CHANNEL)
    settings = BridgeSettings(limits=Limits(heartbeat_s=0.5))
    async with (
        running_bridge(valkey, book, settings) as running,
        running.notifier(),
        running.browser(f"/ws?channels={CHANNEL}") as browser,
    ):
        for _ in range(20):
            book.commit(CHANNEL)
        await browser.until(seq=20)
        for _ in range(3):
            await browser.until(type="HEARTBEAT")
        told = [message["seq"] for message in browser.told if message["type"] in ("SNAPSHOT", "VOTE_UPDATE")]
        assert told == list(range(told[0], 21))


UPGRADE = (
    b"GET / HTTP/1.1\r\nHost: bridge\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)
CLOSE = b"\x88\x82" + bytes(4) + b"\x03\xe8"
"""1000, masked with zeros, as a client sends it."""
BROKEN = b"\xff\x80" + bytes(4)


@pytest.mark.parametrize("raw_allowed", [True, False])
@pytest.mark.parametrize(("sent", "code"), [(CLOSE, 1000), (BROKEN, 1002)])
async def test_nothing_follows_a_close_frame_from_the_instant_at_which_the_client_brings_it_about(
    raw_allowed: bool, sent: bytes, code: int
) -> None:
    ends = asyncio.Queue[wires.SocketWire]()

    async def converse(socket_: ServerConnection) -> None:
        assert isinstance(socket_, PingedConnection)
        wire = wires.SocketWire(socket_, lambda never: never.close(), raw_allowed)
        wire.write([packet("early")])

        def closing() -> None:
            wire.ended()
            wire.write([packet("late")])
            ends.put_nowait(wire)

        socket_.closing = closing
        await socket_.wait_closed()

    async with serve(converse, "127.0.0.1", 0, create_connection=PingedConnection, compression=None) as listening:
        reader, writer = await asyncio.open_connection(*next(iter(listening.sockets)).getsockname())
        writer.write(UPGRADE)
        await reader.readuntil(packet("early").frames)
        writer.write(sent)
        rest = await reader.read()
        assert (rest[0], int.from_bytes(rest[2:4], "big")) == (0x88, code)
        assert len(rest) == 2 + rest[1], "the close frame, and nothing after it"
        await ends.get()
        assert ends.empty(), "told once"
        writer.close()
        await writer.wait_closed()
