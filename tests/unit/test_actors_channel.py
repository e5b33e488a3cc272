"""The channel of batches, its shard's side and its frames: what is let in, and what it costs nobody else."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from actors import channel as channel_module
from actors.channel import LENGTH_BYTES, LINES_MAX, Frames, framed
from actors.frames import FRAME_BYTES_MAX, RefusedFrame
from actors.messages import Batch, Ping, Result
from tests.support.channel import TAKEN, Shard, seal
from tests.support.eventually import eventually
from tests.support.markets import vote

SEALED = seal()


def batch(number: int = 1, votes: int = 1) -> Batch:
    return Batch("gateway", number, {0: 1}, tuple(vote(n) for n in range(votes)))


@pytest.fixture
def shard() -> Iterator[Shard]:
    shard = Shard()
    yield shard
    shard.end()


def connected(shard: Shard) -> socket.socket:
    client = socket.create_connection(shard.door)
    client.settimeout(60.0)
    return client


def result_of(client: socket.socket) -> object:
    frames = Frames(SEALED)
    while received := client.recv(65_536):
        for message in frames.feed(received):
            return message
    return None


@pytest.mark.parametrize("size", [1, 3, 1000])
def test_messages_are_whole_however_they_arrive(size: int) -> None:
    sent = [batch(1), batch(2, votes=40), batch(3)]
    stream = b"".join(framed(SEALED, message) for message in sent)
    frames = Frames(SEALED)
    pieces = (stream[at : at + size] for at in range(0, len(stream), size))
    assert [message for piece in pieces for message in frames.feed(piece)] == sent


@pytest.mark.parametrize("length", [0, 32, FRAME_BYTES_MAX + 1, 2**32 - 1])
def test_a_length_out_of_bounds_is_refused_before_anything_is_kept(length: int) -> None:
    with pytest.raises(RefusedFrame):
        list(Frames(SEALED).feed(length.to_bytes(LENGTH_BYTES, "big")))


def test_a_batch_is_answered_on_its_own_connection(shard: Shard) -> None:
    with connected(shard) as first, connected(shard) as second:
        second.sendall(framed(SEALED, batch(2)))
        first.sendall(framed(SEALED, batch(1)))
        assert (result_of(first), result_of(second)) == (Result(1, (TAKEN,)), Result(2, (TAKEN,)))


@pytest.mark.parametrize(
    "said",
    [
        b"GET / HTTP/1.1\r\n\r\n",
        framed(seal(b"x" * 32), batch()),
        framed(SEALED, Result(1, (TAKEN,))),
        framed(SEALED, Ping(1)),  # type: ignore[arg-type]  # sealed by us, and of no use here
    ],
    ids=["no frame", "another secret", "a result", "another message"],
)
def test_who_says_anything_but_a_sealed_batch_is_cut_off_and_nobody_else(shard: Shard, said: bytes) -> None:
    with connected(shard) as stranger, connected(shard) as gateway:
        stranger.sendall(said)
        assert result_of(stranger) is None
        gateway.sendall(framed(SEALED, batch()))
        assert result_of(gateway) == Result(1, (TAKEN,))
    assert len(shard.received) == 1


def test_half_a_batch_holds_nobody_up(shard: Shard) -> None:
    with connected(shard) as slow, connected(shard) as gateway:
        slow.sendall(framed(SEALED, batch())[:-1])
        gateway.sendall(framed(SEALED, batch(2)))
        assert result_of(gateway) == Result(2, (TAKEN,))
        slow.sendall(framed(SEALED, batch())[-1:])
        assert result_of(slow) == Result(1, (TAKEN,))


def test_a_gateway_that_reads_nothing_loses_its_connection(shard: Shard, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(channel_module, "ANSWER_S_MAX", 0.05)
    monkeypatch.setattr(channel_module, "framed", lambda *_: bytes(64 * 2**20))  # more than any buffer between them
    with connected(shard) as deaf:
        deaf.sendall(SEALED_BATCH)
        eventually(lambda: len(shard.received) == 1 and len(shard.channel.descriptors) == 1)


def test_one_connection_too_many_ends_the_oldest(shard: Shard) -> None:
    clients = [connected(shard) for _ in range(LINES_MAX + 1)]
    try:
        assert result_of(clients[0]) is None
        clients[-1].sendall(framed(SEALED, batch()))
        assert result_of(clients[-1]) == Result(1, (TAKEN,))
    finally:
        for client in clients:
            client.close()


def test_a_closed_channel_watches_nothing_and_ends_its_connections(shard: Shard) -> None:
    with connected(shard) as client:
        client.sendall(framed(SEALED, batch()))
        assert result_of(client) == Result(1, (TAKEN,))
        shard.end()
        assert shard.channel.descriptors == []
        assert result_of(client) is None


SEALED_BATCH = framed(SEALED, batch())
