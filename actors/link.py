"""What carries commands to one shard, one batch in flight at a time.

A batch is whatever arrived while the last one was in flight: latency is one batch, throughput grows with load
(ADR 0001). An unanswered batch is repeated with the same key, at once when the slot has moved. All of it runs in the
event loop of those who ask, over the channel of `channel.py`.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import structlog

from actors.context import own_name
from actors.frames import SealedPickle
from actors.line import Line
from actors.messages import (
    BATCH_BYTES_MAX,
    BATCH_COMMANDS_MAX,
    BATCH_MARKETS_MAX,
    Answer,
    Asked,
    Batch,
    Moved,
    Result,
    TracedBatch,
    WrongOwner,
)
from domain.commands import CastVote, DescribeMarket
from domain.ids import MarketId

log = structlog.get_logger("link")

REPLY_S_MIN = 0.25
"""How long a link waits for a result before it sends the same batch again, at first."""
REPLY_S_MAX = 2.0
"""Each wait in vain is twice the last: a machine that is slow, not deaf, is not given the same work twice for ever."""
RECONNECT_S = 0.02
"""The pause after a connection that was refused or lost: whoever starts the next shard needs as long at least."""
COMPANY_S = 0.003
"""How long a command waits for others to share its batch with, while there are many: a batch costs milliseconds of CPU,
and where all of that is taken, fewer and larger batches answer sooner (5 % on two cores; twice as long gave less)."""
COMPANY_MIN, COMPANY_MAX = 8, 64
"""What many is: a command after a batch of fewer goes at once, and none waits once so many are there."""
COMMAND_S_MAX = 5.0
"""After this long the caller is told that the outcome is unknown, or that nothing was sent."""
QUEUED_MAX = 8192
"""Commands that wait for one shard; one more is refused at once."""
COMMAND_BYTES = 512
"""What a command without free text takes in a message, rounded up."""


class OutcomeUnknown(Exception):
    """A command was sent and not answered in time: it may have been carried out; repeat it with the same key."""

    def __init__(self, waited_s: float) -> None:
        super().__init__(f"no answer within {waited_s} s")
        self.waited_s = waited_s


class NotReached(Exception):
    """No shard owns the market at the moment, and nothing was sent."""

    def __init__(self, waited_s: float) -> None:
        super().__init__(f"no owner within {waited_s} s")
        self.waited_s = waited_s


class Overloaded(Exception):
    """Too many commands wait for this shard; nothing was sent."""

    def __init__(self, queued: int) -> None:
        super().__init__(f"{queued} commands wait already")
        self.queued = queued


Failure = OutcomeUnknown | NotReached | Overloaded


@dataclass(slots=True)
class Waiting:
    """One command and its caller."""

    command: Asked
    future: asyncio.Future[Answer]
    expires_at_s: float
    size_bytes: int = field(default=COMMAND_BYTES)
    traceparent: str | None = None


class Places(Protocol):
    """What a link asks of the directory."""

    def place(self, slot: str) -> Moved | None:
        """Where a slot lives, as far as it is known."""
        ...

    async def news(self, until_s: float) -> None:
        """Wait until some slot has moved, at most until the monotonic instant `until_s`."""
        ...

    def silent(self) -> None:
        """A link got no answer."""
        ...


class Link:
    """Carries commands to one slot, one batch in flight at a time. Belongs to one event loop."""

    def __init__(self, places: Places, slot: str, sealed: SealedPickle, *, is_traced: bool = False) -> None:
        self._places = places
        self._is_traced = is_traced
        self._slot = slot
        self._gateway = own_name(slot)
        self._line = Line(sealed)
        self._queue: deque[Waiting] = deque()
        self._arrived = asyncio.Event()
        self._enough = 1
        self._in_flight: list[Waiting] = []
        self._sent = 0
        self._batch_id = 0
        self._company = 0
        self._stopped = False
        self._task: asyncio.Task[None] | None = None

    def put(self, waiting: Waiting) -> None:
        """Queue a command; raises Overloaded when too many wait, NotReached once everything stops."""
        if self._stopped:
            raise NotReached(0.0)
        if len(self._queue) >= QUEUED_MAX:
            raise Overloaded(len(self._queue))
        self._queue.append(waiting)
        if len(self._queue) >= self._enough:
            self._arrived.set()
        if self._task is None:
            self._task = asyncio.create_task(self._run(), name=f"link to {self._slot}")
            self._task.add_done_callback(self._ended)

    def look(self) -> None:
        """The slot may have moved: who waits for an answer from its old place shall look."""
        place = self._places.place(self._slot)
        if place is None or place.door != self._line.door:
            self._line.give_up()

    def stop(self) -> None:
        """Answer what was sent as unknown and what was not as not sent; whatever is put from now on is refused."""
        self._stopped = True
        if self._task is not None:
            self._task.cancel()
        self._line.close()
        _reject_all(self._in_flight, OutcomeUnknown if self._sent else NotReached)
        _reject_all(self._queue, NotReached)
        self._queue.clear()

    def _ended(self, task: asyncio.Task[None]) -> None:
        """A bug, or the end: what was in flight is answered, and the next command starts anew."""
        self._task = None
        if not task.cancelled() and (bug := task.exception()) is not None:
            log.error("link broke", slot=self._slot, error=str(bug), exc_info=bug)
            _reject_all(self._in_flight, OutcomeUnknown)
            self._line.close()

    async def _run(self) -> None:
        while True:
            self._in_flight, self._sent = await self._gather(), 0
            result = await self._deliver(self._in_flight)
            self._settle(self._in_flight, result)

    async def _gather(self) -> list[Waiting]:
        """Wait for a command, then take what else is there, within the bounds of a message."""
        await self._until(1)
        if self._company >= COMPANY_MIN:
            await self._wait_for_company()
        batch: list[Waiting] = []
        size_bytes, markets = 0, set[MarketId]()
        while self._queue and len(batch) < BATCH_COMMANDS_MAX:
            size_bytes += self._queue[0].size_bytes
            markets.add(self._queue[0].command.market_id)
            if batch and (size_bytes > BATCH_BYTES_MAX or len(markets) > BATCH_MARKETS_MAX):
                break
            batch.append(self._queue.popleft())
        self._company = (self._company + len(batch)) // 2
        return batch

    async def _wait_for_company(self) -> None:
        """Wait until a quarter more than lately are there, or for COMPANY_S."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(COMPANY_S):
                await self._until(min(self._company * 5 // 4, COMPANY_MAX))

    async def _until(self, enough: int) -> None:
        """Wait until so many commands are there, and be woken by the last of them only."""
        if len(self._queue) < enough:
            self._enough = enough
            self._arrived.clear()
            await self._arrived.wait()

    async def _deliver(self, batch: Sequence[Waiting]) -> Result | None:
        """Send until there is a result or time is up; `_sent` counts how often the batch was sent."""
        self._batch_id += 1
        until_s = max(waiting.expires_at_s for waiting in batch)
        commands = tuple(waiting.command for waiting in batch)
        asked_by = _asked_by(batch) if self._is_traced else ()
        patience_s = REPLY_S_MIN
        while (now_s := time.monotonic()) < until_s:
            place = self._places.place(self._slot)
            if place is None:
                await self._places.news(min(now_s + REPLY_S_MIN, until_s))
                continue
            message = self._message(place.epochs, commands, asked_by)
            result = await self._exchange(place, message, min(now_s + patience_s, until_s))
            if result is not None:
                return result
            if self._places.place(self._slot) is place:
                if time.monotonic() >= now_s + patience_s:
                    patience_s = min(2 * patience_s, REPLY_S_MAX)
                await self._lose(now_s + patience_s)
        return None

    def _message(self, epochs: Mapping[int, int], commands: tuple[Asked, ...], asked_by: tuple[str, ...]) -> Batch:
        if asked_by:
            return TracedBatch(self._gateway, self._batch_id, epochs, commands, asked_by)
        return Batch(self._gateway, self._batch_id, epochs, commands)

    async def _exchange(self, place: Moved, batch: Batch, until_s: float) -> Result | None:
        """The result of this batch, or None when time is up, the connection is lost, or the slot has moved."""
        if not await self._line.connected(place.door, until_s):
            return None
        self._sent += 1
        return await self._line.exchange(batch, until_s)

    async def _lose(self, until_s: float) -> None:
        """Have the supervisor looked for and the connection made anew; not at once when this one was lost at once."""
        self._places.silent()
        self._line.close()
        await self._places.news(min(time.monotonic() + RECONNECT_S, until_s))

    def _settle(self, batch: Sequence[Waiting], result: Result | None) -> None:
        """Answer every caller."""
        if result is None:
            _reject_all(batch, OutcomeUnknown if self._sent else NotReached)
        else:
            _resolve_all(batch, result.answers if self._sent == 1 else _doubted(result.answers))


def _asked_by(batch: Sequence[Waiting]) -> tuple[str, ...]:
    """Each span once: a call with a thousand commands is one."""
    return tuple(dict.fromkeys(waiting.traceparent for waiting in batch if waiting.traceparent is not None))


def _doubted(answers: Sequence[Answer]) -> Sequence[Answer]:
    """An earlier sending was not answered: that this owner is the wrong one does not say that nothing was done."""
    return [WrongOwner(in_doubt=True) if isinstance(answer, WrongOwner) else answer for answer in answers]


def _resolve_all(batch: Sequence[Waiting], answers: Sequence[Answer]) -> None:
    for waiting, answer in zip(batch, answers, strict=True):
        if not waiting.future.done():  # the caller may have gone
            waiting.future.set_result(answer)


def _reject_all(batch: Iterable[Waiting], failure: type[OutcomeUnknown | NotReached]) -> None:
    for waiting in batch:
        if not waiting.future.done():
            waiting.future.set_exception(failure(COMMAND_S_MAX))


def size_bytes(command: Asked) -> int:
    """About what a command takes in a message, rounded up."""
    match command:
        case CastVote():
            signature_bytes = len(command.wallet_signature or "")
            return COMMAND_BYTES // 2 + signature_bytes  # 1,024 unsigned votes fill a message exactly
        case DescribeMarket():
            return COMMAND_BYTES + len(command.question.encode()) + len(command.category.encode())
        case _:
            return 2 * COMMAND_BYTES
