"""The channel of batches between a gateway and a shard: one TCP connection each, sealed frames, no message of Thespian.

Thespian opens a connection, waits for an acknowledgement and closes it again for every message: 600 us of CPU for a
batch and its result. Here both sides keep theirs open. A frame is its length in four bytes and what `SealedPickle`
makes of a `Batch` or a `Result`, so nobody is let in whom Thespian would not let in (ADR 0018).
"""

from __future__ import annotations

import contextlib
import select
import socket
from collections.abc import Iterator, Sequence

from actors.frames import FRAME_BYTES_MAX, MAC_BYTES, RefusedFrame, SealedPickle
from actors.messages import Batch, Result

LENGTH_BYTES = 4
LINES_MAX = 64
"""Connections of a shard at once; one more closes the oldest, whose gateway, if it lives, comes again."""
READ_BYTES = 256 * 1024
"""Read at once, into memory that each connection keeps: new memory of this size is mapped and cleared each time."""
ANSWER_S_MAX = 0.25
"""How long a shard waits for a gateway that reads no result; then the connection goes, and the batch comes again."""


class Frames:
    """Takes apart what arrives on one connection."""

    def __init__(self, sealed: SealedPickle) -> None:
        self._sealed = sealed
        self._buffer = bytearray()

    def feed(self, received: bytes | memoryview) -> Iterator[object]:
        """The messages that are whole now; raises RefusedFrame, after which the connection is worth nothing."""
        self._buffer += received
        while (frame := self._next()) is not None:
            yield self._sealed.loads(frame)

    def _next(self) -> bytes | None:
        if len(self._buffer) < LENGTH_BYTES:
            return None
        length = int.from_bytes(self._buffer[:LENGTH_BYTES], "big")
        if not MAC_BYTES < length <= FRAME_BYTES_MAX:
            raise RefusedFrame(f"a frame of {length} bytes")
        if len(self._buffer) < LENGTH_BYTES + length:
            return None
        frame = bytes(self._buffer[LENGTH_BYTES : LENGTH_BYTES + length])
        del self._buffer[: LENGTH_BYTES + length]
        return frame


def framed(sealed: SealedPickle, message: Batch | Result) -> bytes:
    """The bytes that carry a message."""
    frame = sealed.dumps(message)
    return len(frame).to_bytes(LENGTH_BYTES, "big") + frame


class Line:
    """One connection, on the shard's side."""

    def __init__(self, connection: socket.socket, sealed: SealedPickle) -> None:
        connection.setblocking(False)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._socket = connection
        self._sealed = sealed
        self._frames = Frames(sealed)
        self._received = memoryview(bytearray(READ_BYTES))
        self.descriptor = connection.fileno()

    def read(self) -> list[Batch] | None:
        """The batches that are whole now; None when the other side has gone or says what nobody should."""
        try:
            size = self._socket.recv_into(self._received)
            messages = list(self._frames.feed(self._received[:size])) if size else None
        except BlockingIOError:
            return []
        except (OSError, RefusedFrame):
            return None
        if messages is None or not all(isinstance(message, Batch) for message in messages):
            return None
        return [message for message in messages if isinstance(message, Batch)]

    def send(self, result: Result) -> bool:
        """Send all of it, waiting ANSWER_S_MAX at most for each part; False when the other side does not take it."""
        left = memoryview(framed(self._sealed, result))
        with contextlib.suppress(OSError):
            while left:
                try:
                    left = left[self._socket.send(left) :]
                except BlockingIOError:
                    if not select.select([], [self._socket], [], ANSWER_S_MAX)[1]:
                        return False
            return True
        return False

    def close(self) -> None:
        """End it."""
        self._socket.close()


class Channel:
    """The shard's side: listens on a port of its own, and never waits for anybody who has not sent a whole batch.

    Whoever runs the process watches `descriptors` and calls `read` for those that are ready.
    """

    def __init__(self, host: str, sealed: SealedPickle) -> None:
        self._sealed = sealed
        self._listener = socket.create_server((host, 0), backlog=LINES_MAX)
        self._listener.setblocking(False)
        self._lines: dict[int, Line] = {}

    @property
    def place(self) -> tuple[str, int]:
        """Host and port that gateways connect to."""
        host, port = self._listener.getsockname()[:2]
        return host, port

    @property
    def descriptors(self) -> list[int]:
        """What may become readable; none once it is closed."""
        listening = self._listener.fileno()
        return [listening, *self._lines] if listening >= 0 else []

    def read(self, ready: Sequence[int]) -> list[tuple[Line, Batch]]:
        """What has arrived on these descriptors, with the line that each batch is answered on."""
        arrived: list[tuple[Line, Batch]] = []
        for descriptor in ready:
            line = self._lines.get(descriptor)
            batches = line.read() if line else None
            if line and batches is None:
                self._drop(line)
            elif line and batches:
                arrived.extend((line, batch) for batch in batches)
        if self._listener.fileno() in ready:
            self._accept()
        return arrived

    def answer(self, line: Line, result: Result) -> None:
        """Send a result; a gateway that cannot take it loses its connection, and repeats the batch on another."""
        if not line.send(result):
            self._drop(line)

    def close(self) -> None:
        """Stop listening and end every connection: gateways look for who owns the markets now."""
        self._listener.close()
        for line in list(self._lines.values()):
            self._drop(line)

    def _accept(self) -> None:
        with contextlib.suppress(OSError):  # it has gone again
            line = Line(self._listener.accept()[0], self._sealed)
            self._lines[line.descriptor] = line
        if len(self._lines) > LINES_MAX:
            self._drop(next(iter(self._lines.values())))

    def _drop(self, line: Line) -> None:
        self._lines.pop(line.descriptor, None)
        line.close()
