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


@dataclass(frozen=True, slots=True)
class Parcel:
    """Messages of one channel and epoch whose numbers follow each other without a gap."""

    channel: str
    epoch: str
    first: int
    last: int
    messages: tuple[Numbered, ...]
    packet: Packet


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
    return Parcel(run[0].channel, run[0].epoch, run[0].seq, run[-1].seq, tuple(run), together)
