"""Reads of channel state, shared: many subscribers of one channel within a moment cost one read.

A read may be shared only while no message of the channel has arrived since it began. Otherwise a subscriber that came
after the message would get a state before it, and would see neither (the snapshot race); so `outdate` parts the late
from the early, at a cost of at most one read per message.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Protocol

from ws_bridge import frames
from ws_bridge.frames import Position
from ws_bridge.packets import packet
from ws_bridge.ports import Snapshot, Snapshots
from ws_bridge.subscription import Sheet

READS_AT_ONCE_MAX = 8
READ_ATTEMPTS_MAX = 6
READ_TIMEOUT_S = 5.0
RETRY_FIRST_S = 0.1
RETRY_MAX_S = 1.0
REUSE_S = 1.0
"""How long a finished read may serve newcomers; state that changes without a message is at most this old."""

log = logging.getLogger(__name__)


class Subscriber(Protocol):
    """Whoever asked for a snapshot."""

    def snapshot(self, channel: str, ticket: int, sheet: Sheet | None) -> None:
        """The state, or None for an unknown market."""
        ...

    def snapshot_failed(self, channel: str, ticket: int) -> None:
        """The database stayed out of reach."""
        ...


@dataclass(slots=True)
class Read:
    """One read of one channel and who waits for it; once answered it serves newcomers until it is outdated."""

    channel: str
    waiting: list[tuple[Subscriber, int]] = field(default_factory=list)
    answered: bool = False
    sheet: Sheet | None = None
    reusable_until_s: float = 0.0


class SnapshotDesk:
    """Hands out snapshots; `begin` starts a read that ends in `answer` or `fail` (a plain call, so tests drive it)."""

    def __init__(self, begin: Callable[[Read], None], now_s: Callable[[], float]) -> None:
        self._begin, self._now_s = begin, now_s
        self._reads: dict[str, Read] = {}
        self._sweep_at_s = 0.0

    def request(self, channel: str, ticket: int, subscriber: Subscriber, instead_of: Sheet | None = None) -> None:
        """Join the read under way, reuse a fresh one (but not `instead_of`), or begin another."""
        read = self._reads.get(channel)
        if read is not None and not read.answered:
            read.waiting.append((subscriber, ticket))
        elif read is not None and read.sheet is not instead_of and self._now_s() < read.reusable_until_s:
            subscriber.snapshot(channel, ticket, read.sheet)
        else:
            self._reads[channel] = read = Read(channel, [(subscriber, ticket)])
            self._begin(read)

    def outdate(self, channels: Iterable[str]) -> None:
        """Messages of these channels have arrived: whoever asks from now on needs a newer read."""
        if self._reads:
            for channel in channels:
                self._reads.pop(channel, None)

    def outdate_all(self) -> None:
        """Messages of any channel may have been missed."""
        self._reads.clear()

    def answer(self, read: Read, sheet: Sheet | None) -> None:
        """The read is done; everybody who waited for it is told."""
        read.answered, read.sheet = True, sheet
        read.reusable_until_s = self._now_s() + REUSE_S
        if sheet is None:
            self._forget(read)  # an unknown market may become known at any moment, without a message
        for subscriber, ticket in self._leave(read):
            subscriber.snapshot(read.channel, ticket, sheet)

    def fail(self, read: Read) -> None:
        """The read came to nothing."""
        self._forget(read)
        for subscriber, ticket in self._leave(read):
            subscriber.snapshot_failed(read.channel, ticket)

    def sweep(self) -> None:
        """Forget what can no longer be reused, at most once in `REUSE_S`, so that old channels do not pile up."""
        now_s = self._now_s()
        if now_s < self._sweep_at_s:
            return
        self._sweep_at_s = now_s + REUSE_S
        for read in [read for read in self._reads.values() if read.answered and now_s >= read.reusable_until_s]:
            del self._reads[read.channel]

    def _forget(self, read: Read) -> None:
        if self._reads.get(read.channel) is read:
            del self._reads[read.channel]

    def _leave(self, read: Read) -> Iterable[tuple[Subscriber, int]]:
        waiting, read.waiting = read.waiting, []
        return waiting


class SnapshotReader:
    """Carries out the reads of a desk as tasks: bounded at once, in time and in attempts."""

    def __init__(self, snapshots: Snapshots, wall_s: Callable[[], float]) -> None:
        self._snapshots, self._wall_s = snapshots, wall_s
        self._slots = asyncio.Semaphore(READS_AT_ONCE_MAX)
        self._tasks: set[asyncio.Task[None]] = set()
        self.desk = SnapshotDesk(self._begin, asyncio.get_running_loop().time)

    async def close(self) -> None:
        """End all reads; nobody is answered any more."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _begin(self, read: Read) -> None:
        task = asyncio.create_task(self._read(read), name=f"snapshot {read.channel}")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _read(self, read: Read) -> None:
        """Read, and tell the desk how it ended; whatever went wrong, those who wait are answered."""
        try:
            async with self._slots:
                state = await self._attempt(read.channel)
        except OSError as error:
            log.warning("no snapshot of %s: %s", read.channel, error)
            self.desk.fail(read)
        except Exception:
            log.exception("a bug in reading the snapshot of %s", read.channel)
            self.desk.fail(read)
        else:
            self.desk.answer(read, None if state is None else self._sheet(read.channel, state))

    async def _attempt(self, channel: str) -> Snapshot | None:
        delay_s = RETRY_FIRST_S
        for _attempt in range(READ_ATTEMPTS_MAX - 1):
            try:
                async with asyncio.timeout(READ_TIMEOUT_S):
                    return await self._snapshots.snapshot(channel)
            except OSError as error:  # TimeoutError is one
                log.info("snapshot of %s will be read again: %s", channel, error)
            await asyncio.sleep(delay_s)
            delay_s = min(delay_s * 2, RETRY_MAX_S)
        async with asyncio.timeout(READ_TIMEOUT_S):
            return await self._snapshots.snapshot(channel)

    def _sheet(self, channel: str, state: Snapshot) -> Sheet:
        text = frames.snapshot(channel, state, self._wall_s())
        return Sheet(channel, Position(state.epoch, state.seq), packet(text))
