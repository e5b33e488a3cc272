"""Pongs past the library: never what only looks like one, however the bytes arrive."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets.frames import Frame, Opcode
from websockets.http11 import Request
from websockets.server import ServerProtocol

from ws_bridge.sockets import is_between_frames, is_pong

HANDSHAKE = (
    b"GET /ws HTTP/1.1\r\nHost: bridge\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)
EMPTY_PONG = b"\x8a\x80" + bytes(4)


def shaken() -> ServerProtocol:
    protocol = ServerProtocol()
    protocol.receive_data(HANDSHAKE)
    (request,) = protocol.events_received()
    assert isinstance(request, Request)
    protocol.send_response(protocol.accept(request))
    return protocol


def binary(body: bytes) -> bytes:
    return bytes((0x82, 0x80 | len(body), 0, 0, 0, 0)) + body


FRAMES = st.sampled_from([EMPTY_PONG, b"\x8a\x80abcd", binary(EMPTY_PONG), binary(b""), binary(EMPTY_PONG * 3)])


@given(sent=st.lists(FRAMES, max_size=12), cuts=st.sets(st.integers(0, 200)))
def test_however_the_bytes_are_cut_every_pong_is_one_and_every_message_whole(sent: list[bytes], cuts: set[int]) -> None:
    stream, protocol, pongs, messages = b"".join(sent), shaken(), 0, list[bytes]()
    bounds = sorted({0, len(stream), *(cut for cut in cuts if cut < len(stream))})
    for begin, end in pairwise(bounds):
        if is_pong(stream[begin:end], protocol):
            pongs += 1
        else:
            protocol.receive_data(stream[begin:end])
            events = [event for event in protocol.events_received() if isinstance(event, Frame)]
            pongs += sum(event.opcode is Opcode.PONG for event in events)
            messages += [bytes(event.data) for event in events if event.opcode is Opcode.BINARY]
    assert pongs == sum(frame[0] == 0x8A for frame in sent)
    assert messages == [frame[6:] for frame in sent if frame[0] == 0x82]


@pytest.mark.parametrize("came", [b"\x82", binary(EMPTY_PONG)[:6], b"\x88\x80" + bytes(4)])
def test_in_a_frame_and_after_the_end_the_library_is_asked(came: bytes) -> None:
    protocol = shaken()
    assert is_pong(EMPTY_PONG, protocol)
    protocol.receive_data(came)
    assert not is_pong(EMPTY_PONG, protocol)


def test_before_the_handshake_and_with_another_version_the_library_is_asked() -> None:
    assert not is_pong(EMPTY_PONG, ServerProtocol())
    assert not is_between_frames(shaken(), insides_known=False)
