"""The load of `zmart bench fanout` answers every ping: who does not is closed, as if by a mistake of the bridge."""

from __future__ import annotations

import contextlib
import socket
from concurrent.futures import ThreadPoolExecutor

import pytest

from app.bench.fanout_load import Clients
from ws_bridge.packets import PING, packet, text_frame

UPDATE = packet('{"type":"VOTE_UPDATE","sent_ns":1,"end":""}').frames
PONG = b"\x8a\x80" + bytes(4)


@pytest.mark.parametrize(
    "writes",
    [
        [UPDATE + PING.frames + UPDATE],
        [PING.frames + UPDATE + PING.frames + UPDATE],
        [UPDATE + PING.frames[:1], PING.frames[1:] + UPDATE],
    ],
)
def test_pings_are_answered_also_between_updates_that_were_read_together(writes: list[bytes]) -> None:
    sent = b"".join(writes)
    with socket.create_server(("127.0.0.1", 0)) as server, ThreadPoolExecutor(1) as pool:
        accepting = pool.submit(_accept, server)
        with contextlib.closing(Clients(server.getsockname()[1])) as clients:
            clients.open(1, subscribed=1)
            with accepting.result() as served:
                for write in writes:
                    served.sendall(write)
                    clients.serve(10.0)
                expected = PONG * sent.count(PING.frames)
                assert served.recv(len(expected), socket.MSG_WAITALL) == expected
                assert clients.answer()["messages"] == sent.count(UPDATE)


def _accept(server: socket.socket) -> socket.socket:
    client, _ = server.accept()
    client.recv(4_096)
    client.sendall(b"HTTP/1.1 101 Switching Protocols\r\n\r\n" + text_frame(b'{"type":"SNAPSHOT"}'))
    return client
