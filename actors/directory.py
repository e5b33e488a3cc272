"""A gateway's way to the shards: which slot owns a virtual shard, and the link that carries commands there."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import Callable, Iterable, Sequence

from actors.context import SLICE_S, Context, own_name
from actors.frames import SealedPickle
from actors.link import (
    COMMAND_S_MAX,
    Failure,
    Link,
    NotReached,
    OutcomeUnknown,
    Overloaded,
    Waiting,
    size_bytes,
)
from actors.messages import Answer, Asked, Moved, Subscribe, WrongOwner
from domain.ids import virtual_shard

MOVED_S = 0.1
"""How long a command that met the wrong owner waits for news before it tries the owner it knows again."""
RESUBSCRIBE_S = 5.0

__all__ = ["Directory", "Failure", "NotReached", "OutcomeUnknown", "Overloaded"]


class Directory:
    """Routes commands to shards. Belongs to one event loop, but for the thread that hears where shards are.

    `traceparent` tells the span that asks, where calls are traced; it travels with the command.
    """

    def __init__(
        self, admin_port: int, sealed: SealedPickle, traceparent: Callable[[], str | None] | None = None
    ) -> None:
        self._admin_port = admin_port
        self._traceparent = traceparent
        self._sealed = sealed
        self._lock = threading.Lock()
        self._places: dict[str, Moved] = {}
        self._links: dict[str, Link] = {}
        self._owners: dict[int, Link] = {}
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
        for link in list(self._links.values()):
            link.stop()
        self._tell_changed()

    async def ready(self, virtual_shards: int, timeout_s: float) -> bool:
        """Wait until an owner is known for every virtual shard; False when that takes longer than `timeout_s`."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                while len({vshard for place in self._places.values() for vshard in place.epochs}) < virtual_shards:
                    await self._changed.wait()
                return True
        return False

    async def submit(self, command: Asked) -> Answer:
        """Have the market's actor carry out a command; raises OutcomeUnknown, NotReached or Overloaded."""
        assert self._loop is not None, "start() comes first"
        expires_at_s, in_doubt = time.monotonic() + COMMAND_S_MAX, False
        while True:
            try:
                vshard = virtual_shard(command.market_id)
                link = self._owners.get(vshard) or await self._link_for(vshard, expires_at_s)
                future: asyncio.Future[Answer] = self._loop.create_future()
                link.put(self._waiting(command, future, expires_at_s))
                answer = await future
            except (NotReached, Overloaded) as failure:
                raise _honest(failure, in_doubt=in_doubt) from failure
            if not isinstance(answer, WrongOwner):
                return answer
            in_doubt = in_doubt or answer.in_doubt
            await self.news(min(expires_at_s, time.monotonic() + MOVED_S))  # the new owner's `Moved` is on its way

    async def submit_many(self, commands: Sequence[Asked]) -> list[Answer | Failure]:
        """The same for many: each with an answer or with what `submit` would raise, in order; none has a task."""
        expires_at_s = time.monotonic() + COMMAND_S_MAX
        answers: dict[int, Answer | Failure] = {}
        doubted: set[int] = set()
        left = list(range(len(commands)))
        while left:
            answers.update(zip(left, await self._round([commands[index] for index in left], expires_at_s), strict=True))
            left = [index for index in left if isinstance(answers[index], WrongOwner)]
            doubted.update(index for index in left if answers[index] == WrongOwner(in_doubt=True))
            if left:
                await self.news(min(expires_at_s, time.monotonic() + MOVED_S))
        return [
            _honest(answer, in_doubt=index in doubted) if isinstance(answer, Failure) else answer
            for index, answer in sorted(answers.items())
        ]

    async def _round(self, commands: Sequence[Asked], expires_at_s: float) -> list[Answer | Failure]:
        """Queue all of them, those without an owner last, then wait for each."""
        vshards = [virtual_shard(command.market_id) for command in commands]
        links: dict[int, Link | NotReached | None] = {vshard: self._owners.get(vshard) for vshard in set(vshards)}
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

    async def _link_or_failure(self, vshard: int, expires_at_s: float) -> Link | NotReached:
        try:
            return await self._link_for(vshard, expires_at_s)
        except NotReached as failure:
            return failure

    def _queued(self, command: Asked, link: Link | NotReached, expires_at_s: float) -> asyncio.Future[Answer] | Failure:
        assert self._loop is not None, "start() comes first"
        if isinstance(link, NotReached):
            return link
        future: asyncio.Future[Answer] = self._loop.create_future()
        try:
            link.put(self._waiting(command, future, expires_at_s))
        except (Overloaded, NotReached) as failure:
            return failure
        return future

    def _waiting(self, command: Asked, future: asyncio.Future[Answer], expires_at_s: float) -> Waiting:
        traceparent = self._traceparent() if self._traceparent is not None else None
        return Waiting(command, future, expires_at_s, size_bytes(command), traceparent)

    async def _link_for(self, vshard: int, expires_at_s: float) -> Link:
        while time.monotonic() < expires_at_s and not self._stopping.is_set():
            if (link := self._owners.get(vshard)) is not None:
                return link
            await self.news(expires_at_s)
        raise NotReached(COMMAND_S_MAX)

    async def news(self, until_s: float) -> None:
        """Wait until some slot has moved, at most until the monotonic instant `until_s`."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(max(0.0, until_s - time.monotonic())):
                await self._changed.wait()

    def _tell_changed(self) -> None:
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()
        for link in list(self._links.values()):
            link.look()

    # --- also called by the thread ------------------------------------------------------------------------------------

    def place(self, slot: str) -> Moved | None:
        """Where a slot lives, as far as it is known."""
        return self._places.get(slot)

    def moved(self, moved: Moved) -> None:
        """Take in a slot's new place."""
        with self._lock:
            known = self._places.get(moved.slot)
            if known is not None and (known == moved or _newest(known) > _newest(moved)):
                return  # told again, or too late
            self._places[moved.slot] = moved
            if moved.slot not in self._links and self._loop is not None:
                self._links[moved.slot] = Link(self, moved.slot, self._sealed, is_traced=self._traceparent is not None)
            self._owners = {
                vshard: self._links[slot]
                for slot, place in reversed(self._places.items())  # the slot that is known longest has the last word
                if slot in self._links
                for vshard in place.epochs
            }
        self._have_waiters_look()

    def _have_waiters_look(self) -> None:
        if self._loop is not None:
            with contextlib.suppress(RuntimeError):  # the loop has closed: nobody waits any more
                self._loop.call_soon_threadsafe(self._tell_changed)

    def silent(self) -> None:
        """A link got no answer: those who would push `Moved` may have died too, so look for the supervisor anew."""
        self._look.set()

    def _scouting(self) -> None:
        """The one thread that is subscribed: it always listens, so nobody's messages to it pile up."""
        context = Context(self._admin_port, self._stopping)
        subscribed_at_s = -RESUBSCRIBE_S
        while not self._stopping.is_set():
            message = None
            if self._look.is_set() or time.monotonic() - subscribed_at_s > RESUBSCRIBE_S:
                self._look.clear()
                subscribed_at_s = time.monotonic()
                supervisor = context.supervisor()
                if supervisor is not None:
                    message = context.ask(supervisor, Subscribe(own_name("scout")), SLICE_S)
            message = message or context.listen(SLICE_S)
            if isinstance(message, Moved):
                self.moved(message)
        context.renew()


def _honest(failure: Failure, *, in_doubt: bool) -> Failure:
    """Who was asked before and never answered may have done it: then nobody can say that nothing was done."""
    return OutcomeUnknown(COMMAND_S_MAX) if in_doubt else failure


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


def _newest(moved: Moved) -> int:
    return max(moved.epochs.values(), default=0)
