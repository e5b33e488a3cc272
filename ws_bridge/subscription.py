"""One channel of one connection: makes snapshot and live messages one gapless history, without touching a socket.

A subscription is `joining` (a snapshot has been asked for; live messages wait in a bounded buffer) or live. What leaves
it is always contiguous: a snapshot of seq S is followed by S + 1, S + 2, ... of the same epoch, or by a newer snapshot.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

from ws_bridge import frames
from ws_bridge.frames import Position
from ws_bridge.packets import Packet, packet
from ws_bridge.parcels import Numbered, Parcel

JOIN_BUFFER_MESSAGES_MAX = 512
"""Live messages that may wait for one snapshot; more are forgotten, which shows as a gap and asks for a newer one."""

SNAPSHOT_ATTEMPTS_MAX = 5
"""Snapshots in a row that did not fit the live messages, before the client is told to start over (4200)."""


@dataclass(frozen=True, slots=True)
class Sheet:
    """A snapshot, encoded once for all that asked while it was being read."""

    channel: str
    position: Position
    packet: Packet


class Subscription:
    """The state machine of one channel; methods return whether a snapshot that is read from now on is needed."""

    __slots__ = ("_buffer", "_epoch", "_joining", "_resume", "_seq", "attempts", "channel", "requested", "ticket")

    def __init__(self, channel: str) -> None:
        self.channel = self.requested = channel
        self.ticket = 0
        self._epoch: str | None = None
        self._seq = 0
        self.attempts = 0
        self._resume: Position | None = None
        self._joining = True
        self._buffer: deque[Numbered] = deque(maxlen=JOIN_BUFFER_MESSAGES_MAX)

    def begin(self, requested: str, resume: Position | None) -> None:
        """The client subscribes, by this name of the channel; one that had subscribed already starts over."""
        self.rejoin()
        self.requested, self._resume = requested, resume
        self._epoch, self._seq = None, 0

    def follows(self, parcel: Parcel) -> bool:
        """Whether this is exactly what comes next, as it nearly always is; it is then taken, to be passed on."""
        if self._joining or parcel.first != self._seq + 1 or parcel.epoch != self._epoch:
            return False
        self._seq = parcel.last
        return True

    def published(self, parcel: Parcel, out: list[Packet]) -> bool:
        """Take live messages that do not simply follow: drop what is known, or find that something is missing."""
        if self._joining:
            self._buffer.extend(parcel.messages)
            return False
        if parcel.epoch == self._epoch and parcel.first <= self._seq + 1:
            self._pass_on(parcel, out)
            return False
        self.rejoin()
        self._buffer.extend(parcel.messages)
        return True

    def _pass_on(self, parcel: Parcel, out: list[Packet]) -> None:
        """The notifier repeats itself after a crash, so the first ones may be known."""
        out.extend(message.packet for message in parcel.messages if message.seq > self._seq)
        self._seq = max(self._seq, parcel.last)

    @property
    def position(self) -> Position | None:
        """What the client holds; None before its first state."""
        return None if self._epoch is None else Position(self._epoch, self._seq)

    def _stand_at(self, epoch: str, seq: int) -> None:
        self._epoch, self._seq = epoch, seq

    def rejoin(self) -> None:
        """Go back to joining: nothing more is passed on before a new snapshot."""
        self._joining, self._resume, self.attempts = True, None, 0
        self._buffer.clear()

    @property
    def is_live(self) -> bool:
        """Whether messages are passed on at once."""
        return not self._joining

    @property
    def resume(self) -> Position | None:
        """What the client says to hold, until the first answer."""
        return self._resume

    def resumed(self, missed: Sequence[Numbered], now_s: float, out: list[Packet]) -> None:
        """Take exactly what came after `resume`, up to the newest message there is."""
        assert self._joining and self._resume is not None
        self._buffer.clear()  # whatever waits, after a snapshot that did not fit, is among what was missed
        out.append(packet(frames.confirmed(self.channel, self.requested, self._resume, True, now_s)))
        out.extend(message.packet for message in missed)
        self._stand_at(self._resume.epoch, missed[-1].seq if missed else self._resume.seq)
        self._joining, self._resume, self.attempts = False, None, 0

    def snapshot(self, sheet: Sheet, now_s: float, out: list[Packet]) -> bool:
        """Take the snapshot asked for; it is passed on only when the waiting messages continue it."""
        tail = None if self._is_behind(sheet) else self._tail(sheet)
        if tail is None:
            self.attempts += 1
            return True
        recovered = self._resume == sheet.position
        out.append(packet(frames.confirmed(self.channel, self.requested, sheet.position, recovered, now_s)))
        if not recovered:
            out.append(sheet.packet)
        out.extend(message.packet for message in tail)
        self._stand_at(sheet.position.epoch, sheet.position.seq + len(tail))
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
