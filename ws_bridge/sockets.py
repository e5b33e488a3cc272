"""The library's connection, with what the bridge needs of it besides: every pong, and an end that leaves nothing."""

from __future__ import annotations

from collections.abc import Callable
from logging import LoggerAdapter

from websockets.asyncio.server import ServerConnection
from websockets.server import ServerProtocol


class PingedConnection(ServerConnection):
    """Tells of every pong, also of those to pings that the library knows nothing of, and is freed once it has ended."""

    ponged: Callable[[], None] | None = None

    def acknowledge_pings(self, data: bytes) -> None:
        """A pong has come."""
        super().acknowledge_pings(data)
        if self.ponged is not None:
            self.ponged()

    def connection_lost(self, exc: Exception | None) -> None:
        """The socket is closed."""
        super().connection_lost(exc)
        _untie(self.protocol)
        if isinstance(self.logger, LoggerAdapter):
            self.logger.extra = {}  # it named this very connection


def _untie(protocol: ServerProtocol) -> None:
    """Break the circles that the library (15) leaves: its handshake's callback, its parser, and where that failed.

    An ended connection is 8 KiB, and one of the old generation, where most are by then, waits for a look at everything,
    which the collector of a bridge takes once in hours. Nothing is parsed any more after the end of the socket.
    """
    vars(protocol).pop("select_subprotocol", None)
    protocol.parser.close()
    for error in (protocol.parser_exc, protocol.handshake_exc):
        if error is not None:
            error.__traceback__ = None
