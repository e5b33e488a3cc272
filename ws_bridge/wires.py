"""The one place that writes to sockets: frames that are ready made go past the library, under a guard."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

from websockets.asyncio.server import ServerConnection, broadcast
from websockets.protocol import OPEN

from ws_bridge.packets import Packet
from ws_bridge.sockets import INSIDES_KNOWN

CLOSE_TIMEOUT_S = 5.0


class SocketWire:
    """A websockets connection as a `Wire`."""

    __slots__ = ("_is_open", "_is_raw", "_socket", "_spawn", "_transport")

    def __init__(
        self,
        socket_: ServerConnection,
        spawn: Callable[[Coroutine[Any, Any, None]], None],
        raw_allowed: bool = INSIDES_KNOWN,
    ) -> None:
        self._socket, self._spawn = socket_, spawn
        self._transport = socket_.transport
        self._is_open = socket_.protocol.state is OPEN
        self._is_raw = self._is_open and raw_allowed and not socket_.protocol.extensions
        """Whether frames go past the library, which is never while the connection closes."""

    @property
    def backlog_bytes(self) -> int:
        """What the kernel has not taken; the documented way to see a slow peer (websockets, topics/broadcast)."""
        return self._transport.get_write_buffer_size()

    def write(self, packets: Sequence[Packet]) -> int:
        """Queue frames in order without waiting; a socket that is closing takes none. What the kernel has not taken.

        The frames go to the transport past the library, in one write: what it has to say itself it writes within the
        call that makes it (15), and a message in fragments it never has, for all are written here. With a version that
        was not measured `broadcast()` writes message after message, a system call each.
        """
        if self._is_raw:
            frames = packets[0].frames if len(packets) == 1 else b"".join([each.frames for each in packets])
            self._transport.write(frames)
        elif self._is_open:
            for each in packets:
                self._write_by_library(each)
        return self._transport.get_write_buffer_size()

    def _write_by_library(self, each: Packet) -> None:
        for text in each.texts:
            broadcast((self._socket,), text)
        if each.pings:
            self._socket.protocol.send_ping(b"")
            self._socket.send_data()

    def ended(self) -> None:
        """The connection closes, whoever began: nothing may follow a close frame."""
        self._is_open = self._is_raw = False

    def close(self, code: int, reason: str) -> None:
        """Begin the closing handshake; a client that reads nothing is cut off after 5 s."""
        self.ended()
        self._spawn(self._close(code, reason))

    async def _close(self, code: int, reason: str) -> None:
        try:
            async with asyncio.timeout(CLOSE_TIMEOUT_S):
                await self._socket.close(code, reason)
        except TimeoutError:
            self._transport.abort()
