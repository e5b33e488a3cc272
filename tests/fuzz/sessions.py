"""A WebSocket session under whatever a client sends and whatever else happens to it, one step a line of the input."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from ws_bridge import frames
from ws_bridge.frames import Position
from ws_bridge.packets import Packet, packet
from ws_bridge.parcels import Numbered, parcels
from ws_bridge.ports import FeedEntry
from ws_bridge.session import Close, Join, Leave, Limits, ReadSnapshot, Send, Session, Verify
from ws_bridge.subscription import Sheet

CHANNELS_MAX = 4
WALLET = "1" * 32
CHANNEL = "market_" + "1" * 32
TYPES = {"WELCOME", "SUBSCRIPTION_CONFIRMED", "SNAPSHOT", "VOTE_UPDATE", "VOTING_PROGRESS", "HEARTBEAT", "ERROR"}


@dataclass(frozen=True)
class _Caller:
    wallet: str
    expires_at_s: int


class Played:
    """A session, the world as it sees it, and the client that must never miss a message unknowingly."""

    def __init__(self) -> None:
        self.now_s = 1_000.0
        self.session = Session(Limits(channels_max=CHANNELS_MAX), (CHANNEL,), self.now_s)
        self.joined, self.asked = set[str](), list[ReadSnapshot]()
        self.epoch, self.seq = 1, 5
        self.held: dict[str, Position] = {}
        self.has_ended = False

    def step(self, line: bytes) -> None:
        """One line: what happens, then its argument; unknown words are frames of the client."""
        if (act := STEPS.get(line[:1])) is not None:
            act(self, line[1:])
        else:
            self.session.received(line.decode("utf-8", "replace"), self.now_s)
        self.carry_out()

    def carry_out(self) -> None:
        """The effects, as the shell carries them out."""
        while effects := self.session.take():
            for effect in effects:
                assert not self.has_ended, "nothing comes after the end"
                match effect:
                    case Send(told):
                        self.told(told)
                    case Verify(token):
                        self.verify(token)
                    case Join(subscription):
                        channel = subscription.channel
                        assert channel not in self.joined
                        assert channel == f"user_{WALLET}_positions" or not channel.startswith("user_"), "another's"
                        self.joined.add(channel)
                    case Leave(channel):
                        self.joined.remove(channel)
                        self.held.pop(channel, None)
                    case ReadSnapshot():
                        assert effect.channel in self.joined
                        self.asked.append(effect)
                    case Close():
                        self.has_ended = True
        assert len(self.session.channels) <= CHANNELS_MAX

    def told(self, packet_: Packet) -> None:
        """What the client reads: known types, and numbers without a gap."""
        for text in packet_.texts:
            message = json.loads(text)
            assert message["type"] in TYPES
            if message["type"] in ("SUBSCRIPTION_CONFIRMED", "SNAPSHOT"):
                self.held[message["channel"]] = Position(message["epoch"], message["seq"])
            if message["type"] == "VOTE_UPDATE":
                before = self.held[message["channel"]]
                assert (message["epoch"], message["seq"]) == (before.epoch, before.seq + 1), "a gap"
                self.held[message["channel"]] = Position(before.epoch, before.seq + 1)

    def verify(self, token: str) -> None:
        """Tokens that begin with "n" are no good, those with "o" are another wallet's."""
        if token.startswith("n"):
            self.session.refused()
        else:
            wallet = "o" * 32 if token.startswith("o") else WALLET
            self.session.verified(_Caller(wallet, int(self.now_s) + 60), self.now_s)

    def publish(self, count: bytes) -> None:
        """The next messages of every channel that was joined."""
        first, self.seq = self.seq + 1, self.seq + 1 + len(count) % 3
        for channel in tuple(self.joined):
            run = [_message(channel, self.epoch, seq) for seq in range(first, self.seq + 1)]
            for parcel in parcels(run):
                if self.session.published(parcel):
                    self.told(parcel)
                self.carry_out()

    def repeat(self, count: bytes) -> None:
        """What a notifier sends again after a crash."""
        self.seq = max(0, self.seq - len(count) % 4)
        self.publish(count)

    def skip(self, _: bytes) -> None:
        """A message that is lost."""
        self.seq += 1

    def restore(self, _: bytes) -> None:
        """The database is another one."""
        self.epoch, self.seq = self.epoch + 1, 0

    def answer(self, kind: bytes) -> None:
        """The oldest read ends: with a state, with none, in vain, or with what was missed."""
        if not self.asked:
            return
        wish = self.asked.pop(0)
        if kind == b"x":
            self.session.snapshot_failed(wish.channel, wish.ticket, self.now_s)
        elif kind == b"-":
            self.session.snapshot(wish.channel, wish.ticket, None, self.now_s)
        elif kind == b"=" and wish.since is not None:
            self.session.resumed(wish.channel, wish.ticket, (), self.now_s)
        else:
            self.session.snapshot(wish.channel, wish.ticket, self.sheet(wish.channel), self.now_s)

    def sheet(self, channel: str) -> Sheet:
        """The present state."""
        text = {"type": "SNAPSHOT", "channel": channel, "epoch": str(self.epoch), "seq": self.seq}
        return Sheet(channel, Position(str(self.epoch), self.seq), packet(json.dumps(text)))

    def wait(self, seconds: bytes) -> None:
        """Time passes."""
        self.now_s += sum(seconds) / 16
        self.session.tick(self.now_s)


def _message(channel: str, epoch: int, seq: int) -> Numbered:
    entry = FeedEntry(channel, str(epoch), seq, "VOTE_UPDATE", "", "{}")
    return Numbered(entry, channel, seq, frames.numbered)


STEPS: Mapping[bytes, Callable[[Played, bytes], None]] = {
    b"B": lambda played, body: played.session.received(body, played.now_s),
    b"V": lambda played, token: played.session.credential(token.decode("utf-8", "replace")),
    b"P": Played.publish,
    b"R": Played.repeat,
    b"G": Played.skip,
    b"E": Played.restore,
    b"A": Played.answer,
    b"W": Played.wait,
    b"O": lambda played, _: (played.session.ponged(played.now_s), None)[1],
    b"H": lambda played, _: played.session.history_lost(),
    b"U": lambda played, _: played.session.unnumbered(CHANNEL, packet('{"type":"VOTING_PROGRESS"}')),
}


def session(data: bytes) -> None:
    """A connection's life: no input is a fault of the server, and no message is missed unknowingly."""
    played = Played()
    for line in data.split(b"\n"):
        played.step(line)
    assert played.session.closed == played.has_ended
