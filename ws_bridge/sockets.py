"""The library's connection, with what the bridge needs of it besides: every pong, and an end that leaves nothing."""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import version
from logging import LoggerAdapter
from types import GeneratorType
from typing import Any

from websockets.asyncio.server import ServerConnection
from websockets.protocol import OPEN, Protocol
from websockets.server import ServerProtocol
from websockets.streams import StreamReader

MEASURED_WITH = "15."
INSIDES_KNOWN = version("websockets").startswith(MEASURED_WITH)
"""Whether this is the library's version whose insides we rely on for speed; with another one all goes through it."""

_PONG_HEAD = b"\x8a\x80"
_PONG_BYTES = 6
"""An empty pong as a client sends it: its head and four bytes of mask, which masks nothing."""
_PARSE, _AT_EOF = Protocol.parse.__code__, StreamReader.at_eof.__code__


class PingedConnection(ServerConnection):
    """Tells of every pong, also of those to pings that the library knows nothing of, and when it begins to close.

    It is freed once it has ended.
    """

    ponged: Callable[[], None] | None = None
    closing: Callable[[], None] | None = None

    def data_received(self, data: bytes) -> None:
        """Bytes of the client; nearly all are a pong alone, of which the library would make a frame and an event."""
        if is_pong(data, self.protocol):
            self.acknowledge_pings(b"")
        else:
            super().data_received(data)
            self._look()

    def eof_received(self) -> None:
        """The client has no more to say."""
        super().eof_received()
        self._look()

    def acknowledge_pings(self, data: bytes) -> None:
        """A pong has come."""
        super().acknowledge_pings(data)
        if self.ponged is not None:
            self.ponged()

    def connection_lost(self, exc: Exception | None) -> None:
        """The socket is closed."""
        super().connection_lost(exc)
        self._look()
        _untie(self.protocol)
        if isinstance(self.logger, LoggerAdapter):
            self.logger.extra = {}  # it named this very connection

    def _look(self) -> None:
        """What comes from outside may have begun the end: a close frame, a broken one, the end of the socket."""
        if self.protocol.state is not OPEN and self.closing is not None:
            self.closing()
            self.closing = None


def is_pong(data: bytes, protocol: ServerProtocol) -> bool:
    """Whether these bytes are one empty pong and nothing else; False also where the library has to find out."""
    return len(data) == _PONG_BYTES and data.startswith(_PONG_HEAD) and is_between_frames(protocol)


def is_between_frames(protocol: ServerProtocol, insides_known: bool = INSIDES_KNOWN) -> bool:
    """Whether the library has taken all bytes so far as whole frames, so that the next ones begin a frame.

    Its parser then waits in `at_eof`, within `parse`; in a frame it waits elsewhere, after a close within `discard`.
    """
    if not insides_known:
        return False
    parse = _inner(protocol.parser)
    return parse is not None and parse.gi_code is _PARSE and getattr(_inner(parse), "gi_code", None) is _AT_EOF


def _inner(outer: object) -> GeneratorType[Any, Any, Any] | None:
    """What a generator that has not ended waits for, if that is a generator."""
    inner = outer.gi_yieldfrom if isinstance(outer, GeneratorType) else None
    return inner if isinstance(inner, GeneratorType) else None


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
