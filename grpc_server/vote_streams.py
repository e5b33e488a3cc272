"""Votes as streams: a few messages in flight for each, answered in order, and the next is read only then."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from typing import Any

from grpc_server.bulk import Answered
from grpc_server.problems import Rejected, Stopping
from zmart.v1 import vote_service_pb2 as pb

IN_FLIGHT_MAX = 4
"""Messages of one stream that are read and not answered; beyond, the client's own writes stop (HTTP/2 flow control)."""

Cast = Callable[[Sequence[pb.BulkVote]], Coroutine[Any, Any, Answered]]
_Casting = asyncio.Task[Answered]


class VoteStreams:
    """All open streams of votes; `cast` answers one message."""

    def __init__(self, cast: Cast) -> None:
        self._cast = cast
        self._open: set[_Stream] = set()

    async def answers(self, requests: AsyncIterator[pb.StreamVotesRequest]) -> AsyncIterator[pb.StreamVotesResponse]:
        """One response per request, in order; what ends the stream early is raised after the answers before it."""
        stream = _Stream(self._cast, requests)
        self._open.add(stream)
        try:
            while (casting := await stream.next()) is not None:
                answered = await casting
                yield pb.StreamVotesResponse(results=answered.results, receipts=answered.receipts)
                stream.answered()
        finally:
            self._open.discard(stream)
            await stream.close()

    def stop(self) -> None:
        """Read nothing more; every stream answers what it has read and ends with SERVER_STOPPING."""
        for stream in self._open:
            stream.stop()


class _Stream:
    """One stream: a task reads ahead of the answers, no further than the bound."""

    def __init__(self, cast: Cast, requests: AsyncIterator[pb.StreamVotesRequest]) -> None:
        self._cast = cast
        self._requests = requests
        self._castings: asyncio.Queue[_Casting | None] = asyncio.Queue()  # bounded by the places
        self._places = asyncio.Semaphore(IN_FLIGHT_MAX)
        self._stopped = False
        self._reader = asyncio.create_task(self._read(), name="reader of a vote stream")
        self._reader.add_done_callback(lambda _: self._castings.put_nowait(None))

    async def next(self) -> _Casting | None:
        """The oldest message that is not answered, None at the end; raises what ended the reading."""
        casting = await self._castings.get()
        if casting is None and self._stopped:
            raise Rejected(Stopping())
        if casting is None:
            await self._reader
        return casting

    def answered(self) -> None:
        """One more may be read."""
        self._places.release()

    def stop(self) -> None:
        """Read nothing more."""
        self._stopped = not self._reader.done()
        self._reader.cancel()

    async def close(self) -> None:
        """Give up what is under way, which happens only when nobody hears the answers any more."""
        self._reader.cancel()
        left = [self._reader]
        while not self._castings.empty():
            if (casting := self._castings.get_nowait()) is not None:
                casting.cancel()
                left.append(casting)  # type: ignore[arg-type]  # tasks of two kinds
        await asyncio.gather(*left, return_exceptions=True)

    async def _read(self) -> None:
        await self._places.acquire()
        async for request in self._requests:
            self._castings.put_nowait(asyncio.create_task(self._cast(request.votes)))
            await self._places.acquire()
