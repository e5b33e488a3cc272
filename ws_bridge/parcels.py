"""Live messages on their way to subscribers: what a tick brought of one channel travels together, encoded once.

Most messages are of markets that nobody watches at the moment; they are kept as they came.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from ws_bridge.packets import Packet, joined, packet
from ws_bridge.ports import FeedEntry

Encode = Callable[[FeedEntry, str, int], str]
"""Writes a message as it is told in a channel under a number."""

ENVELOPE_BYTES_MAX = 100
"""Of a frame: its header, the names of the envelope and a `seq`."""


class Numbered:
    """A live message in one of its places, encoded once for all subscribers, and not before one has to be told."""

    __slots__ = ("_encode", "_form", "channel", "epoch", "kept_at_s", "seq", "size_bytes")

    def __init__(self, entry: FeedEntry, channel: str, seq: int, encode: Encode) -> None:
        self.channel, self.epoch, self.seq = channel, entry.epoch, seq
        self.kept_at_s = 0.0
        """When the history took it."""
        self._form: FeedEntry | Packet = entry
        self._encode = encode
        words = len(channel) + len(entry.epoch) + len(entry.type) + len(entry.timestamp)
        self.size_bytes = 2 * (_ascii_bytes(entry.payload_json) + words + ENVELOPE_BYTES_MAX)
        """What it takes at most: text and frame once it is encoded, before that only the entry."""

    @property
    def packet(self) -> Packet:
        """As it is written."""
        if isinstance(self._form, FeedEntry):
            self._form = packet(self._encode(self._form, self.channel, self.seq))
        return self._form


@dataclass(frozen=True, slots=True, kw_only=True)
class Parcel(Packet):
    """Messages of one channel and epoch whose numbers follow each other without a gap, as the packet to write."""

    channel: str
    epoch: str
    first: int
    last: int
    messages: tuple[Numbered, ...]


def parcels(messages: Iterable[Numbered]) -> Iterator[Parcel]:
    """One channel's messages as parcels, in order; a gap, a repetition or another epoch begins a new one."""
    run: list[Numbered] = []
    for message in messages:
        if run and (message.epoch != run[-1].epoch or message.seq != run[-1].seq + 1):
            yield _parcel(run)
            run = []
        run.append(message)
    if run:
        yield _parcel(run)


def _parcel(run: Sequence[Numbered]) -> Parcel:
    together = joined([message.packet for message in run])
    return Parcel(
        together.texts,
        together.frames,
        channel=run[0].channel,
        epoch=run[0].epoch,
        first=run[0].seq,
        last=run[-1].seq,
        messages=tuple(run),
    )


def _ascii_bytes(text: str) -> int:
    """At most so many bytes in ASCII, where the rarest characters take twelve (`\\ud83d\\ude00`)."""
    return len(text) if text.isascii() else 12 * len(text)
