"""Frames past the library and by it: a client cannot tell which, and answers pings of both."""

from __future__ import annotations

from functools import partial

import pytest

from tests.support.bridge import running_bridge
from tests.support.feed import MARKET, Book
from tests.support.valkey import ValkeyServer
from ws_bridge import BridgeSettings, Limits, server, wires

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
