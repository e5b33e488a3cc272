"""The last messages of every channel, for clients that come back: bounded by count, bytes and age.

What is kept of a channel is one gapless run of one epoch, up to the newest message this process has read. A loss, a gap
or another epoch ends the run, so an answer is exact or there is none.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from ws_bridge.frames import Position
from ws_bridge.parcels import Numbered


@dataclass(frozen=True, slots=True)
class HistoryBounds:
    """How much is kept: of each channel, of all together, and for how long."""

    messages_max: int = 256
    bytes_max: int = 64 * 1024 * 1024
    age_max_s: float = 300.0


_Run = deque[Numbered]
"""Oldest first."""


class History:
    """A run for each channel, the channel that has been silent longest first."""

    def __init__(self, bounds: HistoryBounds, now_s: Callable[[], float]) -> None:
        self._bounds, self._now_s = bounds, now_s
        self._runs: OrderedDict[str, _Run] = OrderedDict()
        self.held_bytes = 0

    def record(self, messages: Iterable[Numbered]) -> None:
        """Append what has just arrived, in order; the bounds hold when it returns."""
        now_s = self._now_s()
        for message in messages:
            self._append(message, now_s)
        while self.held_bytes > self._bounds.bytes_max:
            self._forget_oldest()

    def _append(self, message: Numbered, now_s: float) -> None:
        """A message that is known already changes nothing, one that does not follow starts the run anew."""
        if (run := self._runs.get(message.channel)) is None:
            run = self._runs[message.channel] = deque()
        elif run:
            newest = run[-1]
            if message.epoch != newest.epoch or message.seq > newest.seq + 1:
                self._shorten(run, len(run))
            elif message.seq <= newest.seq:
                return
        message.kept_at_s = now_s
        run.append(message)
        self.held_bytes += message.size_bytes
        self._runs.move_to_end(message.channel)
        if len(run) > self._bounds.messages_max or run[0].kept_at_s <= now_s - self._bounds.age_max_s:
            self._trim(run, now_s)

    def since(self, channel: str, position: Position) -> Sequence[Numbered] | None:
        """Exactly what came after `position`, up to now; None when that is not known."""
        run = self._runs.get(channel)
        if not run:
            return None
        oldest, newest = run[0], run[-1]
        if position.epoch != newest.epoch or not oldest.seq - 1 <= position.seq <= newest.seq:
            return None
        return [message for message in run if message.seq > position.seq]

    def clear(self) -> None:
        """Messages of any channel may have been missed."""
        self._runs.clear()
        self.held_bytes = 0

    def sweep(self) -> None:
        """Forget channels whose newest message is too old."""
        too_old_s = self._now_s() - self._bounds.age_max_s
        while self._runs:
            run = next(iter(self._runs.values()))
            if run and run[-1].kept_at_s > too_old_s:
                return
            self._forget_oldest()

    def _trim(self, run: _Run, now_s: float) -> None:
        self._shorten(run, len(run) - self._bounds.messages_max)
        while run and run[0].kept_at_s <= now_s - self._bounds.age_max_s:
            self._shorten(run, 1)

    def _shorten(self, run: _Run, count: int) -> None:
        for _ in range(count):
            self.held_bytes -= run.popleft().size_bytes

    def _forget_oldest(self) -> None:
        _, run = self._runs.popitem(last=False)
        self._shorten(run, len(run))
