"""The way to a server, to be pulled out and put back: TCP through a port where nobody listens while it is out."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from urllib.parse import urlsplit, urlunsplit

from app.embedded import free_port


class Cable:
    """Carries bytes to the host and port of a URL while it is plugged in; `carried` counts the connections so far."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        assert parts.hostname is not None
        assert parts.port is not None
        self._end = parts.hostname, parts.port
        self._port = free_port()
        login = f"{parts.netloc.rpartition('@')[0]}@" if "@" in parts.netloc else ""
        self.url = urlunsplit(parts._replace(netloc=f"{login}127.0.0.1:{self._port}"))
        self.carried = 0
        self._listener: asyncio.Server | None = None
        self._ends: set[asyncio.StreamWriter] = set()

    async def plug(self) -> None:
        """Let connections be made."""
        self._listener = await asyncio.start_server(self._carry, "127.0.0.1", self._port)

    async def pull(self) -> None:
        """End all connections and refuse new ones."""
        assert self._listener is not None
        self._listener.close()
        for end in self._ends:
            end.transport.abort()
        await self._listener.wait_closed()

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.carried += 1
        there, back = await asyncio.open_connection(*self._end)
        self._ends |= {writer, back}
        await asyncio.gather(_pump(reader, back), _pump(there, writer))
        self._ends -= {writer, back}


async def _pump(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    with suppress(ConnectionError):
        while part := await source.read(64 * 1024):
            sink.write(part)
            await sink.drain()
    sink.close()
