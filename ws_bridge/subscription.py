"""One channel of one connection: makes snapshot and live messages one gapless history, without touching a socket.

A subscription is `joining` (a snapshot has been asked for; live messages wait in a bounded buffer) or live. What leaves
it is always contiguous: a snapshot of seq S is followed by S + 1, S + 2, ... of the same epoch, or by a newer snapshot.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from ws_bridge import frames
from ws_bridge.frames import Position

JOIN_BUFFER_MESSAGES_MAX = 512
"""Live messages that may wait for one snapshot; more are forgotten, which shows as a gap and asks for a newer one."""

SNAPSHOT_ATTEMPTS_MAX = 5
"""Snapshots in a row that did not fit the live messages, before the client is told to start over (4200)."""


@dataclass(frozen=True, slots=True)
class Numbered:
    """A live message, encoded once for all subscribers."""

    channel: str
    epoch: str
    seq: int
    text: str


@dataclass(frozen=True, slots=True)
class Sheet:
    """A snapshot, encoded once for all that asked while it was being read."""

    channel: str
    position: Position
    text: str


class Subscription:
    """The state machine of one channel; methods return whether a snapshot that is read from now on is needed."""

    def __init__(self, channel: str, requested: str, resume: Position | None) -> None:
        self.channel, self.requested = channel, requested
        self.ticket = 0
        self.position: Position | None = None
        self.attempts = 0
        self._resume = resume
        self._joining = True
        self._buffer: deque[Numbered] = deque(maxlen=JOIN_BUFFER_MESSAGES_MAX)

    def published(self, message: Numbered, out: list[str]) -> bool:
        """Take a live message: pass it on, drop it as known, or find that something before it is missing."""
        if self._joining:
            self._buffer.append(message)
            return False
        assert self.position is not None
        if message.epoch == self.position.epoch:
            if message.seq <= self.position.seq:
                return False  # the notifier repeats itself after a crash
            if message.seq == self.position.seq + 1:
                self.position = Position(message.epoch, message.seq)
                out.append(message.text)
                return False
        self.rejoin()
        self._buffer.append(message)
        return True

    def rejoin(self) -> None:
        """Go back to joining: nothing more is passed on before a new snapshot."""
        self._joining, self._resume, self.attempts = True, None, 0
        self._buffer.clear()

    def snapshot(self, sheet: Sheet, now_s: float, out: list[str]) -> bool:
        """Take the snapshot asked for; it is passed on only when the waiting messages continue it."""
        tail = None if self._is_behind(sheet) else self._tail(sheet)
        if tail is None:
            self.attempts += 1
            return True
        recovered = self._resume == sheet.position
        out.append(frames.confirmed(self.channel, self.requested, sheet.position, recovered, now_s))
        if not recovered:
            out.append(sheet.text)
        out.extend(message.text for message in tail)
        self.position = Position(sheet.position.epoch, sheet.position.seq + len(tail))
        self._joining, self._resume, self.attempts = False, None, 0
        self._buffer.clear()
        return False

    @property
    def gives_up(self) -> bool:
        """Whether enough snapshots in a row did not fit."""
        return self.attempts >= SNAPSHOT_ATTEMPTS_MAX

    def _is_behind(self, sheet: Sheet) -> bool:
        """Whether the client already holds more of this very history than the snapshot does."""
        held = self.position
        return held is not None and held.epoch == sheet.position.epoch and held.seq > sheet.position.seq

    def _tail(self, sheet: Sheet) -> list[Numbered] | None:
        """The waiting messages after the snapshot, or None (and only what a newer snapshot needs is kept)."""
        tail: list[Numbered] = []
        waiting = list(self._buffer)
        foreign = [index for index, message in enumerate(waiting) if message.epoch != sheet.position.epoch]
        if foreign:  # a history change is under way; a snapshot read from now on contains what came before it
            self._keep(waiting[foreign[-1] + 1 :])
            return None
        for index, message in enumerate(waiting):
            expected = sheet.position.seq + len(tail) + 1
            if message.seq > expected:
                self._keep(waiting[index:])
                return None
            if message.seq == expected:
                tail.append(message)
        return tail

    def _keep(self, messages: list[Numbered]) -> None:
        self._buffer.clear()
        self._buffer.extend(messages)
