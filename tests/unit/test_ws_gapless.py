"""However commits, notifier, feed, snapshot reads and clients interleave, nobody misses anything unknowingly."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import count
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.feed import MARKET, OTHER_MARKET, Book, Row, State
from tests.support.wire import Stage
from ws_bridge import frames
from ws_bridge.frames import Position
from ws_bridge.hub import Parcels, Taker
from ws_bridge.packets import packet
from ws_bridge.ports import Batch, FeedEntry
from ws_bridge.snapshots import Read
from ws_bridge.subscription import Sheet

CHANNELS = (f"market_{MARKET}", f"votes_{OTHER_MARKET}")
Held = tuple[str, int, int]
"""What a client holds of one channel: epoch, seq, likes."""


class Reader:
    """A client that believes nothing it cannot check."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.client = world.stage.connect()
        self.client.line.take()
        self.held: dict[str, Held | None] = {}
        self._resumed: dict[str, Held | None] = {}
        self._snapshot_due: dict[str, Position] = {}

    def subscribe(self, channel: str, known: Held | None) -> None:
        resume = {} if known is None else {channel: {"epoch": known[0], "seq": known[1]}}
        self.held[channel], self._resumed[channel] = None, known
        self.client.say("subscribe", channels=[channel], resume=resume)

    def unsubscribe(self, channel: str) -> None:
        self.client.say("unsubscribe", channels=[channel])
        self.check()
        self.held.pop(channel, None)

    def known(self) -> list[tuple[str, Held | None]]:
        """What it would resume from: a subscription that was never answered keeps what it began with."""
        return [(channel, held or self._resumed.get(channel)) for channel, held in self.held.items()]

    def check(self) -> None:
        for message in self.client.line.take():
            match message["type"]:
                case "SUBSCRIPTION_CONFIRMED":
                    self._confirmed(message)
                case "SNAPSHOT":
                    self._snapshot(message)
                case "VOTE_UPDATE":
                    self._update(message)
                case other:
                    raise AssertionError(other)

    def _confirmed(self, message: dict[str, Any]) -> None:
        channel, position = message["channel"], Position(message["epoch"], message["seq"])
        if message["recovered"]:
            known = self._resumed[channel]
            assert known is not None and Position(known[0], known[1]) == position
            self.held[channel] = known
        else:
            self._snapshot_due[channel] = position

    def _snapshot(self, message: dict[str, Any]) -> None:
        channel, position = message["channel"], Position(message["epoch"], message["seq"])
        assert self._snapshot_due.pop(channel) == position
        before = self.held[channel]
        assert before is None or before[0] != position.epoch or before[1] <= position.seq, "an older snapshot"
        self._hold(message)

    def _update(self, message: dict[str, Any]) -> None:
        before = self.held[message["channel"]]
        assert message["channel"] not in self._snapshot_due
        assert before is not None, "a message before the snapshot"
        assert (message["epoch"], message["seq"]) == (before[0], before[1] + 1), "a gap or a repetition"
        self._hold(message)

    def _hold(self, message: dict[str, Any]) -> None:
        held = (message["epoch"], message["seq"], message["likes"])
        assert self.world.history[message["channel"], held[0], held[1]] == held[2], "a state that never was"
        self.held[message["channel"]] = held


class World:
    """Every part between a commit and a client, each moved on by one step at a time."""

    def __init__(self) -> None:
        self.stage, self.book = Stage(), Book()
        self.book.open(*CHANNELS)
        self.history: dict[tuple[str, str, int], int] = {}
        self.stream: list[Row] = []
        self.read_to = 0
        self.lost = False
        self.visits: list[tuple[Taker, Parcels]] = []
        """What a tick brought and to whom it has not been delivered yet."""
        self.reads: list[tuple[Read, State]] = []
        self.epochs = count(2)
        self.readers: list[Reader] = []
        self.unknowable: set[str] = set()
        """Channels with a loss that nobody can notice before the next message."""
        self.remember()

    def remember(self) -> None:
        for channel, state in self.book.states.items():
            self.history[channel, state.epoch, state.seq] = state.payload["likes"]

    # one step each; `pick` chooses among whatever there is

    def commit(self, pick: int) -> None:
        channel = CHANNELS[pick % len(CHANNELS)]
        self.book.commit(channel)
        self.unknowable.discard(channel)
        self.remember()

    def relay(self, pick: int) -> None:
        """Some rows reach the stream; every other time the notifier dies before it has marked them."""
        rows = self.book.pending[: 1 + pick % 4]
        self.stream += rows
        if pick % 2:
            self.book.pending = self.book.pending[len(rows) :]

    def feed(self, pick: int) -> None:
        rows = self.stream[self.read_to : self.read_to + 1 + pick % 4]
        self.read_to += len(rows)
        self.visit(len(self.visits))
        self.visits = list(self.stage.hub.rounds(Batch(_entries(rows), self.lost)))
        self.lost = False

    def visit(self, pick: int) -> None:
        """A tick reaches some clients; others come, go and ask before it reaches the rest."""
        some, self.visits = self.visits[:pick], self.visits[pick:]
        for member, parcels in some:
            member.deliver(parcels)

    def flush_stream(self, _pick: int) -> None:
        self.stream, self.read_to, self.lost = [], 0, True

    def lose_entry(self, pick: int) -> None:
        unread = len(self.stream) - self.read_to
        if unread:
            self.unknowable.add(self.stream.pop(self.read_to + pick % unread).channel)

    def lose_database_history(self, _pick: int) -> None:
        self.book.lose_history(f"e{next(self.epochs)}")
        self.unknowable.update(CHANNELS)
        self.remember()

    def read_state(self, pick: int) -> None:
        if self.stage.begun:
            read = self.stage.begun.pop(pick % len(self.stage.begun))
            self.reads.append((read, self.book.states[read.channel]))

    def answer(self, pick: int) -> None:
        if self.reads:
            read, state = self.reads.pop(pick % len(self.reads))
            self.stage.desk.answer(read, _sheet(read.channel, state))

    def connect(self, _pick: int) -> None:
        self.readers.append(Reader(self))

    def reader(self, pick: int) -> Reader | None:
        open_readers = [reader for reader in self.readers if reader.client.line.closed is None]
        return open_readers[pick % len(open_readers)] if open_readers else None

    def restart(self, _pick: int) -> None:
        """The bridge dies; its successor reads what the stream still holds, and every client comes back."""
        self.stage, self.reads, self.visits, self.lost = Stage(), [], [], False
        self.stage.hub.remember(_entries(self.stream))
        self.read_to = len(self.stream)
        former, self.readers = self.readers, []
        for reader in former:
            self.readers.append(back := Reader(self))
            for channel, held in reader.known():
                back.subscribe(channel, held)

    def subscribe(self, pick: int) -> None:
        if reader := self.reader(pick):
            channel = CHANNELS[pick % len(CHANNELS)]
            reader.subscribe(channel, reader.held.get(channel) if pick % 3 else None)

    def unsubscribe(self, pick: int) -> None:
        if reader := self.reader(pick):
            reader.unsubscribe(CHANNELS[pick % len(CHANNELS)])

    def reconnect(self, pick: int) -> None:
        """A client goes, and comes back with what it knows."""
        if reader := self.reader(pick):
            reader.client.connection.gone()
            self.readers.remove(reader)
            back = Reader(self)
            self.readers.append(back)
            for channel, held in reader.known():
                back.subscribe(channel, held)

    def check(self) -> None:
        for reader in self.readers:
            reader.check()

    def settle(self) -> None:
        """No more trouble: everything under way arrives."""
        for channel in tuple(self.unknowable):
            self.commit(CHANNELS.index(channel))
        self.visit(len(self.visits))
        self.check()
        while self.book.pending or self.read_to < len(self.stream) or self.lost or self.stage.begun or self.reads:
            self.relay(1)
            self.feed(3)
            self.visit(len(self.visits))
            self.read_state(0)
            self.answer(0)
            self.check()


def _entries(rows: Sequence[Row]) -> tuple[FeedEntry, ...]:
    return tuple(FeedEntry(r.channel, r.epoch, r.seq, r.type, "", r.payload_json) for r in rows)


def _sheet(channel: str, state: State) -> Sheet:
    return Sheet(channel, Position(state.epoch, state.seq), packet(frames.snapshot(channel, state, 0)))


STEPS: dict[str, Callable[[World, int], None]] = {
    name: getattr(World, name)
    for name in (
        "commit",
        "relay",
        "feed",
        "visit",
        "read_state",
        "answer",
        "subscribe",
        "reconnect",
        "unsubscribe",
        "connect",
        "flush_stream",
        "lose_entry",
        "lose_database_history",
        "restart",
    )
}
USUAL = ["commit", "relay", "feed", "visit", "feed", "visit", "read_state", "answer"]
MIXES = (
    [*USUAL, "subscribe", "unsubscribe", "connect", "reconnect"],
    [*USUAL, *USUAL, "subscribe", "reconnect", "flush_stream"],
    [*USUAL, *USUAL, "subscribe", "lose_entry"],
    [*USUAL, "connect", "subscribe", "reconnect", "restart"],
    [*USUAL, *USUAL, *STEPS],
)
SCHEDULES = st.sampled_from(MIXES).flatmap(
    lambda mix: st.lists(st.tuples(st.sampled_from(mix), st.integers(0, 11)), min_size=40, max_size=120)
)


@settings(max_examples=300, deadline=None)
@given(SCHEDULES)
def test_every_client_ends_with_the_present_state_and_saw_no_gap_on_the_way(schedule: list[tuple[str, int]]) -> None:
    live_through(schedule)


@pytest.mark.long
@pytest.mark.timeout(1_800)
@settings(max_examples=10_000, deadline=None, derandomize=False)
@given(SCHEDULES)
def test_ten_thousand_schedules_leave_no_client_with_a_gap_or_a_repetition(schedule: list[tuple[str, int]]) -> None:
    live_through(schedule)


def live_through(schedule: list[tuple[str, int]]) -> None:
    """A schedule step by step, then until nothing is under way."""
    world = World()
    world.connect(0)
    world.connect(0)
    for name, pick in schedule:
        STEPS[name](world, pick)
        world.check()
    world.settle()
    for reader in world.readers:
        if reader.client.line.closed is not None:
            assert reader.client.line.closed[0] == 4200
            continue
        for channel, held in reader.held.items():
            state = world.book.states[channel]
            assert held == (state.epoch, state.seq, state.payload["likes"])
