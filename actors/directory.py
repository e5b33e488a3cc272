"""A gateway's way to the shards: routes by virtual shard, and one link thread for each shard that batches commands.

A batch is whatever arrived while the last one was in flight: latency is one batch, throughput grows with load
(architecture section 3). The link repeats an unanswered batch with the same key, at once when the slot has moved.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import queue
import secrets
import socket
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import structlog
from thespian.actors import ActorSystem

from actors.messages import BATCH_BYTES_MAX, BATCH_COMMANDS_MAX, Answer, Batch, Moved, Result, Subscribe, WrongOwner
from actors.supervisor import GLOBAL_NAME, NodeSupervisor
from domain.commands import CastVote, Command, DescribeMarket
from domain.ids import virtual_shard

REPLY_S_MAX = 0.25
"""How long a link waits for a result before it sends the same batch again."""
COMMAND_S_MAX = 5.0
"""After this long the caller is told that the outcome is unknown, or that nothing was sent."""
QUEUED_MAX = 8192
"""Commands that wait for one shard; one more is refused at once."""
MOVED_S = 0.1
"""How long a command that met the wrong owner waits for news before it tries the owner it knows again."""
RESUBSCRIBE_S = 5.0
CONNECT_RETRY_S = 0.1
COMMAND_BYTES = 512
"""What a command without free text takes in a message, rounded up."""

SLICE_S = 0.02
"""How long a thread listens before it looks whether anything else has changed."""
IDLE_S = 1.0
"""How often an idle link reads what came late: an unread message would hold one of its sender's 20 transmit slots."""
_PROCESS_TOKEN = secrets.token_hex(8)

log = structlog.get_logger("directory")


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
class _Waiting:
    """One command and its caller."""

    command: Command
    future: asyncio.Future[Answer]
    expires_at_s: float
    size_bytes: int = field(default=COMMAND_BYTES)


class Directory:
    """Routes commands to shards. `submit` belongs to one event loop; the links are threads with a context each.

    One Thespian context in two threads mixes their answers up (ADR 0003), so no context is shared.
    """

    def __init__(self, admin_port: int) -> None:
        self._admin_port = admin_port
        self._lock = threading.Condition()
        self._places: dict[str, Moved] = {}
        self._links: dict[str, _Link] = {}
        self._stopping = threading.Event()
        self._look = threading.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._changed = asyncio.Event()
        self._scout = threading.Thread(target=self._scouting, name="scout", daemon=True)

    def start(self) -> None:
        """Look for the actors in the background; commands wait until a shard is known. Call in the event loop."""
        self._loop = asyncio.get_running_loop()
        self._scout.start()

    def stop(self) -> None:
        """Stop all threads; commands that still wait are answered `OutcomeUnknown` or `NotReached`."""
        self._stopping.set()
        with self._lock:
            self._lock.notify_all()
        for link in list(self._links.values()):
            link.wake()

    async def ready(self, virtual_shards: int, timeout_s: float) -> bool:
        """Wait until an owner is known for every virtual shard; False when that takes longer than `timeout_s`."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                while len({vshard for place in self._places.values() for vshard in place.epochs}) < virtual_shards:
                    await self._changed.wait()
                return True
        return False

    async def submit(self, command: Command) -> Answer:
        """Have the market's actor carry out a command; raises OutcomeUnknown, NotReached or Overloaded."""
        assert self._loop is not None, "start() comes first"
        expires_at_s = time.monotonic() + COMMAND_S_MAX
        while True:
            link = await self._link_for(virtual_shard(command.market_id), expires_at_s)
            future: asyncio.Future[Answer] = self._loop.create_future()
            link.put(_Waiting(command, future, expires_at_s, _size_bytes(command)))
            answer = await future
            if not isinstance(answer, WrongOwner):
                return answer
            await self._news(min(expires_at_s, time.monotonic() + MOVED_S))  # the new owner's `Moved` is on its way

    async def submit_many(self, commands: Sequence[Command]) -> list[Answer | Failure]:
        """The same for many: each with an answer or with what `submit` would raise, in order; none has a task."""
        expires_at_s = time.monotonic() + COMMAND_S_MAX
        answers: dict[int, Answer | Failure] = {}
        left = list(range(len(commands)))
        while left:
            answers.update(zip(left, await self._round([commands[index] for index in left], expires_at_s), strict=True))
            left = [index for index in left if isinstance(answers[index], WrongOwner)]
            if left:
                await self._news(min(expires_at_s, time.monotonic() + MOVED_S))
        return [answers[index] for index in range(len(commands))]

    async def _round(self, commands: Sequence[Command], expires_at_s: float) -> list[Answer | Failure]:
        """Queue all of them, those without an owner last, then wait for each."""
        vshards = [virtual_shard(command.market_id) for command in commands]
        links: dict[int, _Link | NotReached | None] = {vshard: self._link(vshard) for vshard in set(vshards)}
        waiting: dict[int, asyncio.Future[Answer] | Failure] = {}
        try:
            for index in sorted(range(len(commands)), key=lambda index: links[vshards[index]] is None):
                link = links[vshards[index]]
                if link is None:
                    link = links[vshards[index]] = await self._link_or_failure(vshards[index], expires_at_s)
                waiting[index] = self._queued(commands[index], link, expires_at_s)
            return [await _settled(waiting[index]) for index in range(len(commands))]
        finally:
            _give_up(waiting.values())

    async def _link_or_failure(self, vshard: int, expires_at_s: float) -> _Link | NotReached:
        try:
            return await self._link_for(vshard, expires_at_s)
        except NotReached as failure:
            return failure

    def _queued(
        self, command: Command, link: _Link | NotReached, expires_at_s: float
    ) -> asyncio.Future[Answer] | Failure:
        assert self._loop is not None, "start() comes first"
        if isinstance(link, NotReached):
            return link
        future: asyncio.Future[Answer] = self._loop.create_future()
        try:
            link.put(_Waiting(command, future, expires_at_s, _size_bytes(command)))
        except Overloaded as failure:
            return failure
        return future

    async def _link_for(self, vshard: int, expires_at_s: float) -> _Link:
        while time.monotonic() < expires_at_s:
            link = self._link(vshard)
            if link is not None:
                return link
            await self._news(expires_at_s)
        raise NotReached(COMMAND_S_MAX)

    def _link(self, vshard: int) -> _Link | None:
        slot = next((slot for slot, place in self._places.items() if vshard in place.epochs), None)
        return self._links.get(slot) if slot is not None else None

    async def _news(self, until_s: float) -> None:
        """Wait until some slot has moved, at most until the monotonic instant `until_s`."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(max(0.0, until_s - time.monotonic())):
                await self._changed.wait()

    def _tell_changed(self) -> None:
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()

    # --- called by the threads ------------------------------------------------------------------------------------

    def place(self, slot: str) -> Moved | None:
        """Where a slot lives, as far as it is known."""
        return self._places.get(slot)

    def moved(self, moved: Moved) -> None:
        """Take in a slot's new place."""
        with self._lock:
            known = self._places.get(moved.slot)
            if known is not None and _newest(known) > _newest(moved):
                return
            self._places[moved.slot] = moved
            if moved.slot not in self._links and self._loop is not None:
                self._links[moved.slot] = _Link(self, moved.slot, self._admin_port, self._loop, self._stopping)
            self._lock.notify_all()
        if self._loop is not None:
            with contextlib.suppress(RuntimeError):  # the loop has closed: nobody waits any more
                self._loop.call_soon_threadsafe(self._tell_changed)

    def wait_for_news(self, timeout_s: float) -> None:
        """Wait until some slot has moved, at most `timeout_s`."""
        with self._lock:
            self._lock.wait(timeout_s)

    def silent(self) -> None:
        """A link got no answer: those who would push `Moved` may have died too, so look for the supervisor anew."""
        self._look.set()

    def _scouting(self) -> None:
        """The one thread that is subscribed: it always listens, so nobody's messages to it pile up."""
        context = _Context(self._admin_port, self._stopping)
        subscribed_at_s = -RESUBSCRIBE_S
        while not self._stopping.is_set():
            message = None
            if self._look.is_set() or time.monotonic() - subscribed_at_s > RESUBSCRIBE_S:
                self._look.clear()
                subscribed_at_s = time.monotonic()
                supervisor = context.supervisor()
                if supervisor is not None:
                    message = context.ask(supervisor, Subscribe(_own_name("scout")), SLICE_S)
            message = message or context.listen(SLICE_S)
            if isinstance(message, Moved):
                self.moved(message)
        context.renew()


class _Context:
    """A Thespian context for one thread; made anew when it may be stuck or the admin has gone.

    Only `ask` sends: `tell` waits up to a minute for a peer that does not read, or whose port is somebody else's now.
    """

    def __init__(self, admin_port: int, stopping: threading.Event) -> None:
        self._admin_port = admin_port
        self._stopping = stopping
        self._system: Any = None
        self._stack = contextlib.ExitStack()
        self._context: Any = None

    def supervisor(self) -> Any:
        """The address of NodeSupervisor, None when there is no actor system at the moment."""
        return self._tried(lambda: self._open().createActor(NodeSupervisor, globalName=GLOBAL_NAME))

    def ask(self, address: Any, message: Any, timeout_s: float) -> Any:
        """Send, and give the next message from anybody, or None after `timeout_s`."""
        return self._tried(lambda: self._open().ask(address, message, timeout_s))

    def listen(self, timeout_s: float) -> Any:
        """The next message, or None after `timeout_s`."""
        return self._tried(lambda: self._open().listen(timeout_s))

    def renew(self) -> None:
        """Drop the context with all that it still tries to send; answers to it are lost, and asked for again."""
        self._context = None
        stack, self._stack = self._stack, contextlib.ExitStack()
        with contextlib.suppress(Exception):  # it is broken, or it was fine
            stack.close()

    def _open(self) -> Any:
        if self._system is None:
            self._system = ActorSystem("multiprocTCPBase", {"Admin Port": self._admin_port}, transientUnique=True)
        if self._context is None:
            self._context = self._stack.enter_context(self._system.private())
        return self._context

    def _tried(self, work: Callable[[], Any]) -> Any:
        try:
            return work()
        except Exception as failure:  # Thespian raises many kinds when no admin answers
            log.warning("no actor system", port=self._admin_port, error=str(failure))
            self.renew()
            self._system = None
            self._stopping.wait(CONNECT_RETRY_S)
            return None


class _Link:
    """The thread that carries commands to one slot, one batch in flight at a time."""

    def __init__(
        self,
        directory: Directory,
        slot: str,
        admin_port: int,
        loop: asyncio.AbstractEventLoop,
        stopping: threading.Event,
    ) -> None:
        self._directory = directory
        self._slot = slot
        self._gateway = _own_name(slot)
        self._context = _Context(admin_port, stopping)
        self._loop = loop
        self._stopping = stopping
        self._queue: queue.SimpleQueue[_Waiting | None] = queue.SimpleQueue()
        self._held: _Waiting | None = None
        self._batch_id = 0
        threading.Thread(target=self._run, name=f"link-{slot}", daemon=True).start()

    def put(self, waiting: _Waiting) -> None:
        """Queue a command; raises Overloaded when too many wait."""
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

    def _gather(self) -> list[_Waiting]:
        """Wait for a command, then take what else is there, within the bounds of a message."""
        batch: list[_Waiting] = []
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

    def _first(self) -> _Waiting | None:
        try:
            return self._queue.get(timeout=IDLE_S)
        except queue.Empty:
            while self._context.listen(0) is not None:  # late answers to batches that were given up
                pass
            return None

    def _next(self) -> _Waiting | None:
        try:
            return self._queue.get_nowait()
        except queue.Empty:
            return None

    def _deliver(self, batch: Sequence[_Waiting]) -> tuple[Result | None, bool]:
        """Send until there is a result or time is up; returns the result and whether anything was sent at all."""
        self._batch_id += 1
        until_s = max(waiting.expires_at_s for waiting in batch)
        commands = tuple(waiting.command for waiting in batch)
        sent = False
        while time.monotonic() < until_s and not self._stopping.is_set():
            place = self._directory.place(self._slot)
            if place is None:
                self._directory.wait_for_news(REPLY_S_MAX)
                continue
            sent = True
            message = Batch(self._gateway, self._batch_id, place.epochs, commands)
            result = self._exchange(place, message, min(time.monotonic() + REPLY_S_MAX, until_s))
            if result is not None:
                return result, sent
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

    def _settle(self, batch: Sequence[_Waiting], result: Result | None, sent: bool) -> None:
        """Answer every caller, in their event loop, with one call for the whole batch."""
        if result is not None:
            self._call(_resolve_all, batch, result.answers)
        else:
            self._call(_reject_all, batch, OutcomeUnknown if sent else NotReached)

    def _call(self, settle: Callable[..., None], *args: Any) -> None:
        with contextlib.suppress(RuntimeError):  # the loop has closed: nobody waits any more
            self._loop.call_soon_threadsafe(settle, *args)


async def _settled(waiting: asyncio.Future[Answer] | Failure) -> Answer | Failure:
    if not isinstance(waiting, asyncio.Future):
        return waiting
    try:
        return await waiting
    except (OutcomeUnknown, NotReached) as failure:
        return failure


def _give_up(waiting: Iterable[asyncio.Future[Answer] | Failure]) -> None:
    """The caller has its answers or has gone: what is open is not waited for, what failed is not reported as unseen."""
    for each in waiting:
        if isinstance(each, asyncio.Future) and not each.cancel() and not each.cancelled():
            each.exception()


def _resolve_all(batch: Sequence[_Waiting], answers: Sequence[Answer]) -> None:
    for waiting, answer in zip(batch, answers, strict=True):
        if not waiting.future.done():  # the caller may have gone
            waiting.future.set_result(answer)


def _reject_all(batch: Sequence[_Waiting], failure: type[OutcomeUnknown | NotReached]) -> None:
    for waiting in batch:
        if not waiting.future.done():
            waiting.future.set_exception(failure(COMMAND_S_MAX))


def _size_bytes(command: Command) -> int:
    match command:
        case CastVote():
            return COMMAND_BYTES // 2  # 1,024 votes fill a message exactly
        case DescribeMarket():
            return COMMAND_BYTES + len(command.question.encode()) + len(command.category.encode())
        case _:
            return 2 * COMMAND_BYTES


def _newest(moved: Moved) -> int:
    return max(moved.epochs.values(), default=0)


def _own_name(part: str) -> str:
    """Never the same in two processes: a shard answers a repeated batch by this name, and pids come again."""
    return f"{socket.gethostname()}/{os.getpid()}/{_PROCESS_TOKEN}/{part}"
