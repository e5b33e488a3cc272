"""Live messages on their way to subscribers: what a tick brought of one channel travels together, encoded once."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from ws_bridge.packets import Packet, joined, packet
from ws_bridge.ports import FeedEntry


@dataclass(frozen=True, slots=True)
class Numbered:
    """A live message, encoded once for all subscribers."""

    channel: str
    epoch: str
    seq: int
    packet: Packet


@dataclass(frozen=True, slots=True, kw_only=True)
class Parcel(Packet):
    """Messages of one channel and epoch whose numbers follow each other without a gap, as the packet to write."""

    channel: str
    epoch: str
    first: int
    last: int
    messages: tuple[Numbered, ...]


def numbered(entry: FeedEntry, encode: Callable[[FeedEntry], str]) -> Numbered:
    """A message of the feed, encoded."""
    return Numbered(entry.channel, entry.epoch, entry.seq, packet(encode(entry)))


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
