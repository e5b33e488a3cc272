"""Who listens to what: the topic index between one feed and all connections of this process.

A message that somebody listens to costs one encoding and one visit to each of its subscribers, any other its place in
the history. What a batch brought leaves each connection together, in that visit: a second one would find ten thousand
connections gone from the processor's cache.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import repeat
from typing import Protocol

from ws_bridge import frames, metrics
from ws_bridge.history import History
from ws_bridge.packets import Packet
from ws_bridge.parcels import Encode, Numbered, Parcel, parcels
from ws_bridge.ports import Batch, FeedEntry
from ws_bridge.snapshots import SnapshotDesk

EPOCHS_KNOWN_MAX = 16

Parcels = tuple[Parcel, ...]
"""What one tick brought for one member; members of the same channels share it."""


class Taker(Protocol):
    """Takes messages for a connection: of one channel, or of all of them."""

    def deliver(self, parcels: Parcels) -> None:
        """Take what one tick brought and write it; messages of a channel that was left meanwhile are ignored."""
        ...


class Member(Taker, Protocol):
    """A connection as the hub sees it; must be hashable by identity."""

    def unnumbered(self, channel: str, told: Packet) -> None:
        """Take a message that may be missed; nothing is written before `flush`."""
        ...

    def history_lost(self) -> None:
        """Messages may be missing anywhere; nothing is written before `deliver` or `flush`."""
        ...

    def flush(self) -> None:
        """Carry out what has gathered; never awaits."""
        ...


class _Topic:
    """Who listens to one channel."""

    def __init__(self) -> None:
        self._seats: dict[Member, Taker] = {}
        self._takers: tuple[Taker, ...] | None = None
        """All of the seats; kept until somebody comes or goes, for to gather them is to visit each."""

    def __len__(self) -> int:
        return len(self._seats)

    def __iter__(self) -> Iterator[Member]:
        return iter(self._seats)

    def take(self, member: Member, seat: Taker) -> None:
        """A member sits down."""
        self._seats[member] = seat
        self._takers = None

    def free(self, member: Member) -> None:
        """A member, if it sits here, goes."""
        if self._seats.pop(member, None) is not None:
            self._takers = None

    @property
    def takers(self) -> tuple[Taker, ...]:
        """All seats, those taken first before the others."""
        if self._takers is None:
            self._takers = tuple(self._seats.values())
        return self._takers


class Hub:
    """The index and the fan-out. Everything happens in one thread, between two turns of the loop."""

    def __init__(self, desk: SnapshotDesk, history: History, encode: Encode = frames.numbered) -> None:
        self._desk, self.history, self._encode = desk, history, encode
        self._topics: dict[str, _Topic] = {}
        self._members: dict[Member, None] = {}
        self._epochs: deque[str] = deque(maxlen=EPOCHS_KNOWN_MAX)
        self.told: tuple[str, ...] = ()
        """The channels that somebody listened to, of those that the last tick brought messages of."""

    @property
    def topics(self) -> tuple[str, ...]:
        """All channels that somebody listens to."""
        return tuple(self._topics)

    @property
    def listeners(self) -> Mapping[str, int]:
        """Subscriptions by kind of channel."""
        counts = dict.fromkeys(("market", "votes", "user"), 0)
        for channel, topic in self._topics.items():
            counts[channel.partition("_")[0]] += len(topic)
        return counts

    @property
    def members(self) -> tuple[Member, ...]:
        """All connections, oldest first."""
        return tuple(self._members)

    def enter(self, member: Member) -> None:
        """A new connection."""
        self._members[member] = None

    def exit(self, member: Member, channels: tuple[str, ...]) -> None:
        """A connection is gone, and with it its place in `channels`."""
        self._members.pop(member, None)
        for channel in channels:
            self.leave(channel, member)

    def join(self, channel: str, member: Member, seat: Taker) -> None:
        """Hand this channel's messages to the member from now on, to its seat when there are no others in a tick."""
        if (topic := self._topics.get(channel)) is None:
            topic = self._topics[channel] = _Topic()
        topic.take(member, seat)

    def leave(self, channel: str, member: Member) -> None:
        """Stop handing them over; an empty topic is forgotten."""
        topic = self._topics.get(channel)
        if topic is not None:
            topic.free(member)
            if not len(topic):
                del self._topics[channel]

    def remember(self, entries: Iterable[FeedEntry]) -> None:
        """Messages from before the first connection, for clients that had them from another process."""
        earlier = tuple(entries)
        self._restored(earlier)
        self._record(earlier)

    def deliver(self, batch: Batch) -> None:
        """Pass on what one tick of the feed brought, all at once."""
        for taker, brought in self.rounds(batch):
            taker.deliver(brought)

    def rounds(self, batch: Batch) -> Iterable[tuple[Taker, Parcels]]:
        """Whom to deliver what one tick brought, all of it before the next tick's rounds are asked for.

        Clients may come, ask and go between two deliveries: the history has the messages already, and no read from
        before them is shared any more, so whoever subscribes meanwhile has them, and drops them if they are delivered.
        """
        lost = self._restored(batch.entries) or batch.history_lost
        if lost:
            self._lose_history()
        messages = self._record(batch.entries)
        metrics.PUBLISHED.inc(len(messages))
        self._desk.outdate(message.channel for message in messages)
        followed = self._followed(messages)
        self.told = tuple(followed)
        news = [(self._topics[channel], tuple(parcels(brought))) for channel, brought in followed.items()]
        _count(news)
        if len(news) == 1 and not lost:
            return zip(news[0][0].takers, repeat(news[0][1]))
        return _merged(self._members if lost else (), news).items()

    def tell(self, channel: str, told: Packet) -> None:
        """Pass on a message that may be missed."""
        for member in tuple(self._topics.get(channel, ())):
            member.unnumbered(channel, told)
            member.flush()

    def _restored(self, entries: Sequence[FeedEntry]) -> bool:
        """Whether an epoch among theirs is a new one: the database was restored, which concerns silent channels too.

        One that is known is not new again: a late message of the former epoch must not have everybody start over twice.
        """
        is_restored = False
        for epoch in dict.fromkeys(entry.epoch for entry in entries):
            if epoch not in self._epochs:
                self._epochs.append(epoch)
                is_restored = is_restored or len(self._epochs) > 1
        return is_restored

    def _lose_history(self) -> None:
        metrics.HISTORY_LOSSES.inc()
        self.history.clear()
        self._desk.outdate_all()
        for member in self.members:
            member.history_lost()

    def _record(self, entries: Iterable[FeedEntry]) -> Sequence[Numbered]:
        """In the history before anybody hears of them."""
        messages = [Numbered(entry, *place, self._encode) for entry in entries for place in entry.places]
        self.history.record(messages)
        return messages

    def _followed(self, messages: Iterable[Numbered]) -> dict[str, list[Numbered]]:
        """By channel, in order, those that somebody listens to."""
        by_channel: dict[str, list[Numbered]] = {}
        for message in messages:
            if message.channel in self._topics:
                by_channel.setdefault(message.channel, []).append(message)
        return by_channel


def _merged(first: Iterable[Member], news: Iterable[tuple[_Topic, Parcels]]) -> dict[Member, Parcels]:
    """What each member is told, of all channels together."""
    rounds: dict[Member, Parcels] = dict.fromkeys(first, ())
    for topic, brought in news:
        for member in topic:
            rounds[member] = rounds.get(member, ()) + brought
    return rounds


def _count(news: Iterable[tuple[_Topic, Parcels]]) -> None:
    """Once for all that a tick brought: with several processes, each count is a write to a file."""
    delivered = delivered_bytes = coalesced = 0
    for topic, brought in news:
        for parcel in brought:
            delivered += len(parcel.messages) * len(topic)
            delivered_bytes += len(parcel.frames) * len(topic)
            coalesced += (len(parcel.messages) - 1) * len(topic)
    if delivered:
        metrics.DELIVERED.inc(delivered)
        metrics.DELIVERED_BYTES.inc(delivered_bytes)
        metrics.COALESCED.inc(coalesced)
