"""The thread that carries commands to one shard, one batch in flight at a time.

A batch is whatever arrived while the last one was in flight: latency is one batch, throughput grows with load
(ADR 0001). An unanswered batch is repeated with the same key, at once when the slot has moved.
"""

from __future__ import annotations

import asyncio
import contextlib
import queue
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from actors.context import SLICE_S, Context, own_name
from actors.messages import BATCH_BYTES_MAX, BATCH_COMMANDS_MAX, Answer, Asked, Batch, Moved, Result, WrongOwner
from domain.commands import CastVote, DescribeMarket

REPLY_S_MIN = 0.25
"""How long a link waits for a result before it sends the same batch again, at first."""
REPLY_S_MAX = 2.0
"""Each wait in vain is twice the last: a machine that is slow, not deaf, is not given the same work twice for ever."""
COMMAND_S_MAX = 5.0
"""After this long the caller is told that the outcome is unknown, or that nothing was sent."""
QUEUED_MAX = 8192
"""Commands that wait for one shard; one more is refused at once."""
COMMAND_BYTES = 512
"""What a command without free text takes in a message, rounded up."""
IDLE_S = 1.0
"""How often an idle link reads what came late: an unread message would hold one of its sender's 20 transmit slots."""


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


class Places(Protocol):
    """What a link asks of the directory; called in the link's thread."""

    def place(self, slot: str) -> Moved | None:
        """Where a slot lives, as far as it is known."""
        ...

    def wait_for_news(self, timeout_s: float) -> None:
        """Wait until some slot has moved, at most `timeout_s`."""
        ...

    def silent(self) -> None:
        """A link got no answer."""
        ...


class Link:
    """The thread that carries commands to one slot, one batch in flight at a time."""

    def __init__(
        self,
        directory: Places,
        slot: str,
        admin_port: int,
        loop: asyncio.AbstractEventLoop,
        stopping: threading.Event,
    ) -> None:
        self._directory = directory
        self._slot = slot
        self._gateway = own_name(slot)
        self._context = Context(admin_port, stopping)
        self._loop = loop
        self._stopping = stopping
        self._queue: queue.SimpleQueue[Waiting | None] = queue.SimpleQueue()
        self._held: Waiting | None = None
        self._batch_id = 0
        threading.Thread(target=self._run, name=f"link-{slot}", daemon=True).start()

    def put(self, waiting: Waiting) -> None:
        """Queue a command; raises Overloaded when too many wait, NotReached once everything stops."""
        if self._stopping.is_set():
            raise NotReached(0.0)
        queued = self._queue.qsize()
        if queued >= QUEUED_MAX:
            raise Overloaded(queued)
        self._queue.put(waiting)

    def wake(self) -> None:
        """Let the thread see that it shall stop."""
        self._queue.put(None)

    def _run(self) -> None:
        while not self._stopping.is_set():
            batch = self._gather()
            if batch:
                self._settle(batch, *self._deliver(batch))
        self._abandon()

    def _abandon(self) -> None:
        """Answer what is queued and will not be sent any more."""
        left: list[Waiting | None] = [self._held]
        with contextlib.suppress(queue.Empty):
            while True:
                left.append(self._queue.get_nowait())
        self._call(_reject_all, [waiting for waiting in left if waiting is not None], NotReached)

    def _gather(self) -> list[Waiting]:
        """Wait for a command, then take what else is there, within the bounds of a message."""
        batch: list[Waiting] = []
        size_bytes = 0
        waiting = self._held or self._first()
        self._held = None
        while waiting is not None:
            if size_bytes + waiting.size_bytes > BATCH_BYTES_MAX and batch:
                self._held = waiting
                break
            batch.append(waiting)
            size_bytes += waiting.size_bytes
            if len(batch) == BATCH_COMMANDS_MAX:
                break
            waiting = self._next()
        return batch

    def _first(self) -> Waiting | None:
        try:
            return self._queue.get(timeout=IDLE_S)
        except queue.Empty:
            while self._context.listen(0) is not None:  # late answers to batches that were given up
                pass
            return None

    def _next(self) -> Waiting | None:
        try:
            return self._queue.get_nowait()
        except queue.Empty:
            return None

    def _deliver(self, batch: Sequence[Waiting]) -> tuple[Result | None, int]:
        """Send until there is a result or time is up; returns the result and how often the batch was sent."""
        self._batch_id += 1
        until_s = max(waiting.expires_at_s for waiting in batch)
        commands = tuple(waiting.command for waiting in batch)
        sent, patience_s = 0, REPLY_S_MIN
        while time.monotonic() < until_s and not self._stopping.is_set():
            place = self._directory.place(self._slot)
            if place is None:
                self._directory.wait_for_news(REPLY_S_MIN)
                continue
            sent += 1
            message = Batch(self._gateway, self._batch_id, place.epochs, commands)
            result = self._exchange(place, message, min(time.monotonic() + patience_s, until_s))
            if result is not None:
                return result, sent
            patience_s = min(2 * patience_s, REPLY_S_MAX)
            if self._directory.place(self._slot) is place:
                self._directory.silent()
                self._context.renew()
        return None, sent

    def _exchange(self, place: Moved, batch: Batch, until_s: float) -> Result | None:
        """The result of this batch, or None when time is up or the slot has moved: any other message is an old one."""
        message = self._context.ask(place.address, batch, SLICE_S)
        while not (isinstance(message, Result) and message.batch_id == batch.batch_id):
            if time.monotonic() >= until_s or self._directory.place(self._slot) is not place:
                return None
            message = self._context.listen(SLICE_S)
        return message

    def _settle(self, batch: Sequence[Waiting], result: Result | None, sent: int) -> None:
        """Answer every caller, in their event loop, with one call for the whole batch."""
        if result is not None:
            self._call(_resolve_all, batch, result.answers if sent == 1 else _doubted(result.answers))
        else:
            self._call(_reject_all, batch, OutcomeUnknown if sent else NotReached)

    def _call(self, settle: Callable[..., None], *args: Any) -> None:
        with contextlib.suppress(RuntimeError):  # the loop has closed: nobody waits any more
            self._loop.call_soon_threadsafe(settle, *args)


def _doubted(answers: Sequence[Answer]) -> Sequence[Answer]:
    """An earlier sending was not answered: that this owner is the wrong one does not say that nothing was done."""
    return [WrongOwner(in_doubt=True) if isinstance(answer, WrongOwner) else answer for answer in answers]


def _resolve_all(batch: Sequence[Waiting], answers: Sequence[Answer]) -> None:
    for waiting, answer in zip(batch, answers, strict=True):
        if not waiting.future.done():  # the caller may have gone
            waiting.future.set_result(answer)


def _reject_all(batch: Sequence[Waiting], failure: type[OutcomeUnknown | NotReached]) -> None:
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
