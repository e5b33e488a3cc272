"""A gateway's end of the channel to one shard: connects, sends a batch, and waits for its result."""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import cast

from actors.channel import Frames, framed
from actors.frames import RefusedFrame, SealedPickle
from actors.messages import Batch, Result

Door = tuple[str, int]
"""Host and port where a shard takes batches."""


class Line:
    """At most one connection and one batch on it. Belongs to one event loop."""

    def __init__(self, sealed: SealedPickle) -> None:
        self._sealed = sealed
        self._talk: _Talk | None = None
        self.door: Door | None = None

    async def connected(self, door: Door, until_s: float) -> bool:
        """Have a connection to this door, at the latest at the monotonic instant `until_s`."""
        if self._talk is not None and self._talk.is_open and self.door == door:
            return True
        self.close()
        loop = asyncio.get_running_loop()
        with contextlib.suppress(OSError, TimeoutError):
            async with asyncio.timeout(max(0.0, until_s - time.monotonic())):
                _, self._talk = await loop.create_connection(lambda: _Talk(self._sealed), *door)
                self.door = door
                return True
        return False

    async def exchange(self, batch: Batch, until_s: float) -> Result | None:
        """The result of this batch, None when there is none by then, or the connection ends, or it is given up."""
        assert self._talk is not None, "connected() comes first"
        answer = self._talk.ask(batch)
        timer = asyncio.get_running_loop().call_later(max(0.0, until_s - time.monotonic()), self._talk.give_up)
        try:
            return await answer
        finally:
            timer.cancel()

    def give_up(self) -> None:
        """Let whoever waits for a result go without one."""
        if self._talk is not None:
            self._talk.give_up()

    def close(self) -> None:
        """End the connection, with all that it still carries."""
        talk, self._talk, self.door = self._talk, None, None
        if talk is not None:
            talk.close()


class _Talk(asyncio.Protocol):
    """One connection."""

    def __init__(self, sealed: SealedPickle) -> None:
        self._sealed = sealed
        self._frames = Frames(sealed)
        self._transport: asyncio.Transport | None = None
        self._asked: tuple[int, asyncio.Future[Result | None]] | None = None

    @property
    def is_open(self) -> bool:
        return self._transport is not None and not self._transport.is_closing()

    def ask(self, batch: Batch) -> asyncio.Future[Result | None]:
        """Send a batch; the future is its result."""
        answer: asyncio.Future[Result | None] = asyncio.get_running_loop().create_future()
        self._asked = (batch.batch_id, answer)
        if self._transport is not None and self.is_open:
            self._transport.write(framed(self._sealed, batch))
        else:
            self.give_up()
        return answer

    def give_up(self) -> None:
        self._answer(None)

    def close(self) -> None:
        self.give_up()
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is one in all but name

    def data_received(self, data: bytes) -> None:
        """Any message but the result that is waited for is an old one."""
        try:
            for message in self._frames.feed(data):
                if isinstance(message, Result) and self._asked is not None and message.batch_id == self._asked[0]:
                    self._answer(message)
        except RefusedFrame:
            self.close()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio says why, and it is one to us
        self.give_up()

    def _answer(self, result: Result | None) -> None:
        asked, self._asked = self._asked, None
        if asked is not None and not asked[1].done():
            asked[1].set_result(result)
