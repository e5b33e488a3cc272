"""The bridge with real sockets, a real Valkey and the notifier between them."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import socket
from collections.abc import AsyncIterator
from functools import partial

import pytest
from prometheus_client import REGISTRY
from redis.typing import EncodableT, FieldT
from websockets.asyncio.client import connect
from websockets.asyncio.server import ServerConnection
from websockets.exceptions import InvalidStatus
from websockets.typing import Origin

from tests.support.bridge import RunningBridge, running_bridge
from tests.support.eventually import eventually_async
from tests.support.feed import MARKET, UNKNOWN_MARKET, Book
from tests.support.valkey import ValkeyServer
from ws_bridge import FEED_STREAM, BridgeSettings, Limits, server
from ws_bridge.admission import AdmissionLimits
from ws_bridge.connection import Connection
from ws_bridge.session import CloseCode

CHANNEL = f"market_{MARKET}"
VOTES = f"votes_{MARKET}"
JOINED = ("WELCOME", "SUBSCRIPTION_CONFIRMED", "SNAPSHOT")


@pytest.fixture
def book() -> Book:
    book = Book()
    book.open(CHANNEL, VOTES)
    return book


@pytest.fixture
async def running(valkey: ValkeyServer, book: Book) -> AsyncIterator[RunningBridge]:
    async with running_bridge(valkey, book) as running:
        yield running


async def get(running: RunningBridge, path: str) -> tuple[int, str]:
    """One plain HTTP request."""
    reader, writer = await asyncio.open_connection("127.0.0.1", running.bridge.port)
    writer.write(f"GET {path} HTTP/1.1\r\nHost: bridge\r\n\r\n".encode())
    head, _, body = (await reader.read()).decode().partition("\r\n\r\n")
    writer.close()
    await writer.wait_closed()
    return int(head.split(" ")[1]), body


async def test_a_subscriber_gets_a_snapshot_and_then_every_message_in_order(running: RunningBridge) -> None:
    running.book.commit(CHANNEL)
    async with running.notifier(), running.browser(f"/ws?channels={CHANNEL}") as browser:
        _, confirmed, snapshot = await browser.expect(*JOINED)
        assert (confirmed["channel"], confirmed["epoch"], confirmed["recovered"]) == (CHANNEL, "e1", False)
        assert (snapshot["seq"], snapshot["likes"]) == (1, 1)
        running.book.commit(CHANNEL)
        running.book.commit(CHANNEL, "STATE_CHANGED")
        update, changed = await browser.expect("VOTE_UPDATE", "STATE_CHANGED")
        assert [(m["epoch"], m["seq"], m["likes"]) for m in (update, changed)] == [("e1", 2, 2), ("e1", 3, 3)]
        assert update["timestamp"] == "2025-10-09T08:53:20.002Z"


async def test_the_voting_path_subscribes_the_votes_of_the_market(running: RunningBridge) -> None:
    async with running.notifier(), running.browser(f"/markets/{MARKET}/voting") as browser:
        await browser.expect(*JOINED)
        running.book.commit(VOTES)
        assert (await browser.next())["channel"] == VOTES


async def test_an_unknown_market_is_an_error_and_the_connection_stays(running: RunningBridge) -> None:
    async with running.browser(f"/ws?channels=market_{UNKNOWN_MARKET}") as browser:
        _, error = await browser.expect("WELCOME", "ERROR")
        assert error["reason"] == "MARKET_NOT_FOUND"
        await browser.say("subscribe", channels=[CHANNEL])
        await browser.expect("SUBSCRIPTION_CONFIRMED", "SNAPSHOT")


# who may come in


@pytest.mark.parametrize("path", ["/ws", "/ws?token=", "/ws?token=bad"])
async def test_without_a_good_token_the_socket_is_closed_with_4001(valkey: ValkeyServer, book: Book, path: str) -> None:
    settings = BridgeSettings(limits=Limits(auth_timeout_s=0.05))
    async with running_bridge(valkey, book, settings) as running, running.browser(path, bearer=None) as browser:
        assert (await browser.closed())[0] == 4001
        assert browser.told == []


async def test_a_token_may_come_by_header_subprotocol_query_or_first_message(running: RunningBridge) -> None:
    async with running.browser() as browser:
        await browser.expect("WELCOME")
    protocols = ["zmart.v1", "bearer.good"]
    async with running.browser(bearer=None, subprotocols=protocols) as browser:
        await browser.expect("WELCOME")
        assert browser.socket.subprotocol == "zmart.v1"
    async with running.browser("/ws?token=good", bearer=None) as browser:
        await browser.expect("WELCOME")
    async with running.browser(bearer=None) as browser:
        await browser.say("auth", token="good")
        await browser.expect("WELCOME")


async def test_a_token_is_never_in_the_logs(running: RunningBridge, caplog: pytest.LogCaptureFixture) -> None:
    secret = "s3cr3t"
    with caplog.at_level(logging.DEBUG):
        for path, bearer, protocols in (
            (f"/ws?token={secret}", None, None),
            ("/ws", secret, None),
            ("/ws", None, ["zmart.v1", f"bearer.{secret}"]),
        ):
            async with running.browser(path, bearer, subprotocols=protocols) as browser:
                assert (await browser.closed())[0] == 4001
        async with running.browser(bearer=None) as browser:
            await browser.say("auth", token=secret)
            assert (await browser.closed())[0] == 4001
        await _handshake_that_the_library_quotes(running, secret)
        await eventually_async(lambda: _logged(caplog, "opening handshake failed: InvalidHeaderFormat"))
    ours = [record for record in caplog.records if record.name != "websockets.client"]
    assert not [record for record in ours if secret in record.getMessage() + str(record.exc_text)]


async def _logged(caplog: pytest.LogCaptureFixture, message: str) -> bool:
    return message in caplog.messages


async def _handshake_that_the_library_quotes(running: RunningBridge, secret: str) -> None:
    """A malformed subprotocol header: the library's error repeats it."""
    reader, writer = await asyncio.open_connection("127.0.0.1", running.bridge.port)
    writer.write(
        b"GET /ws HTTP/1.1\r\nHost: bridge\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n"
        b"Sec-WebSocket-Protocol: zmart.v1, (bearer." + secret.encode() + b"\r\n\r\n"
    )
    assert b" 400 " in await reader.read()
    writer.close()
    await writer.wait_closed()


async def test_pages_of_other_origins_are_refused_at_the_handshake(valkey: ValkeyServer, book: Book) -> None:
    settings = BridgeSettings(origins=["https://app.example"])
    async with running_bridge(valkey, book, settings) as running:
        async with running.browser(origin=Origin("https://app.example")) as browser:
            await browser.expect("WELCOME")
        async with running.browser() as browser:  # not a browser: no Origin at all
            await browser.expect("WELCOME")
        with pytest.raises(InvalidStatus) as refused:
            await connect(running.url + "/ws", origin=Origin("https://evil.example"))
        assert refused.value.response.status_code == 403


async def test_one_connection_too_many_is_closed_with_4100(valkey: ValkeyServer, book: Book) -> None:
    settings = BridgeSettings(admission=AdmissionLimits(connections_max=1))
    async with running_bridge(valkey, book, settings) as running, running.browser() as first:
        await first.expect("WELCOME")
        async with running.browser() as second:
            assert (await second.closed())[0] == 4100


async def test_handshakes_beyond_the_rate_are_answered_with_503_and_health_is_told(
    valkey: ValkeyServer, book: Book
) -> None:
    settings = BridgeSettings(admission=AdmissionLimits(accepts_per_s=0))
    async with running_bridge(valkey, book, settings) as running:
        with pytest.raises(InvalidStatus) as refused:
            async with running.browser():
                raise AssertionError("it was let in")
        assert refused.value.response.status_code == 503
        assert (await get(running, "/healthz"))[0] == 200


async def test_a_frame_above_four_kilobytes_is_closed_with_1009(running: RunningBridge) -> None:
    async with running.browser() as browser:
        await browser.expect("WELCOME")
        await browser.say("subscribe", channels=["x" * 4096])
        assert (await browser.closed())[0] == 1009


async def test_nothing_is_compressed(running: RunningBridge) -> None:
    async with running.browser(compression="deflate") as browser:
        assert browser.socket.response is not None
        assert "Sec-WebSocket-Extensions" not in browser.socket.response.headers


async def test_health_is_told_on_the_same_port_and_other_paths_are_not_there(running: RunningBridge) -> None:
    status, body = await get(running, "/healthz")
    assert (status, json.loads(body)) == (200, {"status": "serving", "feed": "connected", "connections": 0})
    assert (await get(running, "/admin"))[0] == 404
    assert (await get(running, "/ws"))[0] == 426


# the notifier


async def test_what_a_notifier_repeats_after_a_crash_is_told_once(running: RunningBridge) -> None:
    async with running.browser(f"/ws?channels={CHANNEL}") as browser:
        await browser.expect(*JOINED)
        rows = [running.book.commit(CHANNEL) for _ in range(3)]
        async with running.notifier():
            await browser.expect("VOTE_UPDATE", "VOTE_UPDATE", "VOTE_UPDATE")
        running.book.pending = rows  # as if it had died between XADD and mark
        running.book.commit(CHANNEL)
        async with running.notifier():
            assert (await browser.next())["seq"] == 4
        async with running.valkey.client() as client:
            assert await client.xlen("zmart:feed") == 7


async def _nothing_waits(running: RunningBridge) -> bool:
    return not running.book.pending


async def test_rows_wait_for_redis_and_for_the_database_and_arrive_in_order(
    running: RunningBridge, caplog: pytest.LogCaptureFixture
) -> None:
    async with running.browser(f"/ws?channels={CHANNEL}") as browser, running.notifier():
        await browser.expect(*JOINED)
        running.book.commit(CHANNEL)
        await browser.expect("VOTE_UPDATE")
        await eventually_async(partial(_nothing_waits, running))  # a browser may know before the notifier does
        await running.valkey.kill()
        running.book.failures = 1
        for _ in range(20):
            running.book.commit(CHANNEL)
        assert len(running.book.pending) == 20
        await running.valkey.start()
        await browser.until(likes=21)
        told = [m["seq"] for m in browser.told if "likes" in m]
        assert told[:2] == [0, 1]
        assert told[2:] == list(range(told[2], 22))
    assert caplog.text.count("the feed stands still") == 1, "an outage is said once, however often it was tried"


# the stream is lost


async def test_a_flushed_stream_gives_every_subscriber_a_fresh_snapshot(running: RunningBridge) -> None:
    async with running.browser(f"/ws?channels={CHANNEL},{VOTES}") as browser:
        async with running.notifier():
            await browser.expect(*JOINED, "SUBSCRIPTION_CONFIRMED", "SNAPSHOT")
            running.book.commit(CHANNEL)
            await browser.expect("VOTE_UPDATE")
        running.book.commit(VOTES)
        running.book.pending.clear()  # in the stream, and flushed before anybody read it
        async with running.valkey.client() as client:
            await client.flushall()
        messages = await browser.expect(*["SUBSCRIPTION_CONFIRMED", "SNAPSHOT"] * 2)
        assert [m["recovered"] for m in messages[::2]] == [False, False]
        assert {(m["channel"], m["seq"]) for m in messages[1::2]} == {(CHANNEL, 1), (VOTES, 1)}


async def test_a_restarted_valkey_gives_a_fresh_snapshot_and_the_feed_goes_on(running: RunningBridge) -> None:
    async with running.browser(f"/ws?channels={CHANNEL}") as browser, running.notifier():
        await browser.expect(*JOINED)
        running.book.commit(CHANNEL)
        await browser.expect("VOTE_UPDATE")
        await running.valkey.kill()
        await running.valkey.start()
        confirmed, snapshot = await browser.expect("SUBSCRIPTION_CONFIRMED", "SNAPSHOT")
        assert (confirmed["recovered"], snapshot["seq"]) == (False, 1)
        running.book.commit(CHANNEL)
        assert (await browser.next())["seq"] == 2


async def test_a_bridge_that_starts_without_redis_serves_snapshots_and_catches_up(
    valkey: ValkeyServer, book: Book
) -> None:
    await valkey.kill()
    async with running_bridge(valkey, book) as running, running.browser(f"/ws?channels={CHANNEL}") as browser:
        await browser.expect(*JOINED)
        assert json.loads((await get(running, "/healthz"))[1])["feed"] == "disconnected"
        await valkey.start()
        async with running.notifier():
            book.commit(CHANNEL)
            assert (await browser.until(likes=1))["seq"] == 1


async def test_a_lost_entry_is_noticed_at_the_next_one(running: RunningBridge) -> None:
    async with running.browser(f"/ws?channels={CHANNEL}") as browser:
        await browser.expect(*JOINED)
        running.book.commit(CHANNEL)
        running.book.pending.clear()
        running.book.commit(CHANNEL)
        async with running.notifier():
            confirmed, snapshot = await browser.expect("SUBSCRIPTION_CONFIRMED", "SNAPSHOT")
            assert (confirmed["recovered"], snapshot["seq"], snapshot["likes"]) == (False, 2, 2)


# slow clients and the end


async def test_a_client_that_reads_nothing_is_closed_with_4101_and_the_others_miss_nothing(
    valkey: ValkeyServer, book: Book, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    book.filler = "x" * 64 * 1024
    settings = BridgeSettings(backlog_bytes_max=64 * 1024, tick_s=0)
    path = f"/ws?channels={CHANNEL}"
    async with running_bridge(valkey, book, settings) as running, running.notifier(), running.browser(path) as quick:
        await quick.expect(*JOINED)
        async with running.browser(path, max_queue=1) as stuck:
            while "closing a slow consumer" not in caplog.text:
                book.commit(CHANNEL)
                await quick.next()
            assert (await stuck.closed())[0] == 4101
        assert [m["seq"] for m in quick.told[3:]] == list(range(1, len(quick.told) - 2))


async def test_a_stopping_bridge_closes_with_1012_and_says_when_to_come_back(valkey: ValkeyServer, book: Book) -> None:
    async with running_bridge(valkey, book) as running, running.browser() as browser:
        await browser.expect("WELCOME")
        await running.bridge.stop(grace_s=5.0)
        code, reason = await browser.closed()
        assert code == 1012
        assert 500 <= json.loads(reason or "")["reconnect_after_ms"] < 5_500
        assert running.bridge.connections == 0


async def test_clients_of_a_stopping_bridge_are_told_to_come_back_at_different_times(
    valkey: ValkeyServer, book: Book
) -> None:
    async with contextlib.AsyncExitStack() as stack, running_bridge(valkey, book) as running:
        browsers = [await stack.enter_async_context(running.browser()) for _ in range(8)]
        for browser in browsers:
            await browser.expect("WELCOME")
        await running.bridge.stop(grace_s=2.0)
        await asyncio.gather(*(browser.socket.wait_closed() for browser in browsers))
        assert {browser.socket.close_code for browser in browsers} == {1012}
        hints = [json.loads(browser.socket.close_reason or "")["reconnect_after_ms"] for browser in browsers]
        assert all(500 <= hint <= 5_500 for hint in hints)
        assert len(set(hints)) == len(hints)


async def test_a_stopping_bridge_sends_its_clients_away_in_batches(
    valkey: ValkeyServer, book: Book, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "DRAIN_BATCHES", 4)
    monkeypatch.setattr(server, "DRAINED_TOGETHER_MIN", 1)
    batches, close = [0], Connection.close

    def noted(connection: Connection, code: CloseCode, reason: str = "") -> None:
        """Those that are closed in one turn of the loop are one batch."""
        if not batches[-1]:
            asyncio.get_running_loop().call_soon(batches.append, 0)
        batches[-1] += 1
        close(connection, code, reason)

    monkeypatch.setattr(Connection, "close", noted)
    async with contextlib.AsyncExitStack() as stack, running_bridge(valkey, book) as running:
        for _ in range(8):
            browser = await stack.enter_async_context(running.browser())
            await browser.expect("WELCOME")
        await running.bridge.stop(grace_s=2.0)
        assert [batch for batch in batches if batch] == [2, 2, 2, 2]


async def test_the_kernel_is_asked_to_keep_little_that_is_unsent(
    valkey: ValkeyServer, book: Book, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept: list[int] = []
    show = server._show_backlog

    def asked(connection: ServerConnection) -> None:
        show(connection)
        raw = connection.transport.get_extra_info("socket")
        kept.append(raw.getsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT))

    monkeypatch.setattr(server, "_show_backlog", asked)
    async with running_bridge(valkey, book) as running, running.browser() as browser:
        await browser.expect("WELCOME")
        assert kept == [server.NOTSENT_LOWAT_BYTES]


async def test_a_client_that_does_not_answer_the_close_is_cut_off(valkey: ValkeyServer, book: Book) -> None:
    async with running_bridge(valkey, book) as running:
        reader, writer = await asyncio.open_connection("127.0.0.1", running.bridge.port)
        writer.write(
            b"GET /ws?token=good HTTP/1.1\r\nHost: bridge\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
            b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n\r\n"
        )

        async def connected() -> bool:
            return running.bridge.connections == 1

        await eventually_async(connected)
        await running.bridge.stop(grace_s=0.1)
        assert running.bridge.connections == 0
        writer.close()
        del reader


# what is measured


def measured(name: str) -> float:
    """A sample of this process's registry; those of other tests are in it too."""
    return REGISTRY.get_sample_value(name) or 0.0


async def test_the_age_of_messages_and_the_round_trips_of_pings_are_measured(valkey: ValkeyServer, book: Book) -> None:
    lags, trips = "ws_source_lag_seconds_count", "ws_ping_rtt_seconds_count"
    lagged, ponged = measured(lags), measured(trips)
    settings = BridgeSettings(limits=Limits(heartbeat_s=0.05))
    async with running_bridge(valkey, book, settings) as running, running.notifier(), running.browser() as browser:
        await browser.say("subscribe", channels=[CHANNEL])
        book.commit(CHANNEL)

        async def both_moved() -> bool:
            return measured(lags) > lagged and measured(trips) > ponged

        await eventually_async(both_moved)


async def test_a_message_whose_time_cannot_be_read_is_passed_on_all_the_same(running: RunningBridge) -> None:
    async with running.browser(f"/ws?channels={CHANNEL}") as browser, running.valkey.client() as client:
        await browser.expect(*JOINED)
        entry: dict[FieldT, EncodableT] = {"channel": CHANNEL, "epoch": "e1", "seq": 1, "type": "VOTE_UPDATE"}
        await client.xadd(FEED_STREAM, {**entry, "timestamp": "yesterday", "payload": "{}"})
        await browser.expect("VOTE_UPDATE")
