"""Who listens to what: the topic index between one feed and all connections of this process.

A message costs one encoding and one visit to each of its subscribers, nothing else; what a batch brought leaves each
connection together.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from ws_bridge import frames
from ws_bridge.ports import Batch, FeedEntry
from ws_bridge.snapshots import SnapshotDesk
from ws_bridge.subscription import Numbered


class Member(Protocol):
    """A connection as the hub sees it; must be hashable by identity."""

    def published(self, message: Numbered) -> None:
        """Take a message of a joined channel; nothing is written before `flush`."""
        ...

    def history_lost(self) -> None:
        """Messages may be missing anywhere."""
        ...

    def flush(self) -> None:
        """Carry out what has gathered; never awaits."""
        ...


class Hub:
    """The index and the fan-out. Everything happens in one thread, between two turns of the loop."""

    def __init__(self, desk: SnapshotDesk, encode: Callable[[FeedEntry], str] = frames.numbered) -> None:
        self._desk, self._encode = desk, encode
        self._topics: dict[str, dict[Member, None]] = {}
        self._members: dict[Member, None] = {}

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

    def join(self, channel: str, member: Member) -> None:
        """Hand this channel's messages to the member from now on."""
        self._topics.setdefault(channel, {})[member] = None

    def leave(self, channel: str, member: Member) -> None:
        """Stop handing them over; an empty topic is forgotten."""
        topic = self._topics.get(channel)
        if topic is not None:
            topic.pop(member, None)
            if not topic:
                del self._topics[channel]

    def deliver(self, batch: Batch) -> None:
        """Pass on what one read of the feed brought."""
        touched: dict[Member, None] = {}
        if batch.history_lost:
            self._desk.outdate_all()
            for member in self.members:
                member.history_lost()
            touched.update(self._members)
        for entry in batch.entries:
            self._desk.outdate(entry.channel)
            topic = self._topics.get(entry.channel)
            if topic:
                message = Numbered(entry.channel, entry.epoch, entry.seq, self._encode(entry))
                for member in topic:
                    member.published(message)
                touched.update(topic)
        for member in touched:
            member.flush()
