"""The last messages of every channel, for clients that come back: bounded by count, bytes and age.

What is kept of a channel is one gapless run of one epoch, up to the newest message this process has read. A loss, a gap
or another epoch ends the run, so an answer is exact or there is none.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from ws_bridge.frames import Position
from ws_bridge.parcels import Numbered


@dataclass(frozen=True, slots=True)
class HistoryBounds:
    """How much is kept: of each channel, of all together, and for how long."""

    messages_max: int = 256
    bytes_max: int = 64 * 1024 * 1024
    age_max_s: float = 300.0


@dataclass(slots=True)
class _Run:
    messages: deque[tuple[float, Numbered]] = field(default_factory=deque)


class History:
    """A run for each channel, the channel that has been silent longest first."""

    def __init__(self, bounds: HistoryBounds, now_s: Callable[[], float]) -> None:
        self._bounds, self._now_s = bounds, now_s
        self._runs: OrderedDict[str, _Run] = OrderedDict()
        self.held_bytes = 0

    def record(self, message: Numbered) -> None:
        """Append a message; one that is known already changes nothing, one that does not follow starts the run anew."""
        run = self._runs.setdefault(message.channel, _Run())
        if run.messages:
            newest = run.messages[-1][1]
            if message.epoch == newest.epoch and message.seq <= newest.seq:
                return
            if message.epoch != newest.epoch or message.seq != newest.seq + 1:
                self._shorten(run, len(run.messages))
        run.messages.append((self._now_s(), message))
        self.held_bytes += _size(message)
        self._runs.move_to_end(message.channel)
        self._shorten(run, len(run.messages) - self._bounds.messages_max)
        self._age(run)
        while self.held_bytes > self._bounds.bytes_max:
            self._forget_oldest()

    def since(self, channel: str, position: Position) -> Sequence[Numbered] | None:
        """Exactly what came after `position`, up to now; None when that is not known."""
        run = self._runs.get(channel)
        if run is None or not run.messages:
            return None
        oldest, newest = run.messages[0][1], run.messages[-1][1]
        if position.epoch != newest.epoch or not oldest.seq - 1 <= position.seq <= newest.seq:
            return None
        return [message for _, message in run.messages if message.seq > position.seq]

    def clear(self) -> None:
        """Messages of any channel may have been missed."""
        self._runs.clear()
        self.held_bytes = 0

    def sweep(self) -> None:
        """Forget channels whose newest message is too old."""
        too_old_s = self._now_s() - self._bounds.age_max_s
        while self._runs:
            run = next(iter(self._runs.values()))
            if run.messages and run.messages[-1][0] > too_old_s:
                return
            self._forget_oldest()

    def _age(self, run: _Run) -> None:
        too_old_s = self._now_s() - self._bounds.age_max_s
        while run.messages and run.messages[0][0] <= too_old_s:
            self._shorten(run, 1)

    def _shorten(self, run: _Run, count: int) -> None:
        for _ in range(count):
            _, message = run.messages.popleft()
            self.held_bytes -= _size(message)

    def _forget_oldest(self) -> None:
        _, run = self._runs.popitem(last=False)
        self._shorten(run, len(run.messages))


def _size(message: Numbered) -> int:
    """Text and frames are both kept."""
    return 2 * len(message.packet.frames)
