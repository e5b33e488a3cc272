"""The protocol of one connection, without a socket, a clock or a task.

Inputs are what happened (a frame, a verified caller, a feed message, a snapshot, the time); outputs are effects,
taken with `take()` and carried out by the shell in order. After a `Close` nothing more comes out.
"""

from __future__ import annotations

import enum
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import count

from ws_bridge import frames
from ws_bridge.admission import Bucket
from ws_bridge.channels import NAME_LENGTH_MAX, Channel, Kind, MalformedChannel, parse_channel
from ws_bridge.frames import ClientMessage, MalformedMessage, Position
from ws_bridge.heartbeats import heartbeat
from ws_bridge.packets import Packet, packet
from ws_bridge.parcels import Numbered, Parcel
from ws_bridge.ports import Caller
from ws_bridge.subscription import Sheet, Subscription


class CloseCode(enum.IntEnum):
    """Why a connection ends (contract section 4); 4000-4099 never reconnect, 4100-4199 back off, 4200-4299 at once."""

    POLICY = 1008
    TOO_BIG = 1009
    RESTART = 1012
    UNAUTHORISED = 4001
    OVER_CAPACITY = 4100
    SLOW_CONSUMER = 4101
    RESYNC = 4200
    PONG_TIMEOUT = 4201


@dataclass(frozen=True, slots=True)
class Limits:
    """What one connection may do."""

    auth_timeout_s: float = 10.0
    heartbeat_s: float = 17.0
    """A ping goes with it. Who has not answered by the next is closed, and cut off 5 s later: within 40 s in all."""
    channels_max: int = 100
    strikes_max: int = 5
    """Malformed frames, or frames that came too fast, before the connection is closed with 1008."""
    messages_per_s: float = 20.0
    messages_burst: int = 40


@dataclass(frozen=True, slots=True)
class Send:
    """Write one or more text frames."""

    packet: Packet


@dataclass(frozen=True, slots=True)
class Verify:
    """Ask for the caller behind a token; answer with `verified` or `refused`."""

    token: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Join:
    """From now on hand over every live message of the subscription's channel."""

    subscription: Subscription


@dataclass(frozen=True, slots=True)
class Leave:
    """No more messages of the channel."""

    channel: str


@dataclass(frozen=True, slots=True)
class ReadSnapshot:
    """Answer with `resumed`, at once, or with `snapshot` or `snapshot_failed`, and the same ticket.

    `resumed` takes everything that came after `since`. The read of a snapshot must have begun after the last message of
    the channel, and must not be `instead_of`, which did not fit.
    """

    channel: str
    ticket: int
    instead_of: Sheet | None = None
    since: Position | None = None


@dataclass(frozen=True, slots=True)
class Close:
    """End the connection."""

    code: CloseCode
    reason: str


Effect = Send | Verify | Join | Leave | ReadSnapshot | Close


class Session:
    """One connection from its handshake to its close.

    `channels` come from the URL and are subscribed once the caller is known.
    """

    __slots__ = (
        "_auth_deadline_s",
        "_heartbeat_at_s",
        "_inbound",
        "_limits",
        "_pinged_at_s",
        "_strikes",
        "_subscriptions",
        "_tickets",
        "_wanted",
        "began_at_s",
        "caller",
        "closed",
        "effects",
    )

    def __init__(self, limits: Limits, channels: Sequence[str], now_s: float) -> None:
        self.caller: Caller | None = None
        self.closed = False
        self.began_at_s = now_s
        self._limits = limits
        self._wanted = tuple(channels)
        self._auth_deadline_s = now_s + limits.auth_timeout_s
        self._heartbeat_at_s = now_s + limits.heartbeat_s
        self._strikes = 0
        self._pinged_at_s: float | None = None
        """When the ping went that has no answer yet."""
        self._inbound = Bucket(limits.messages_per_s, limits.messages_burst, now_s)
        self._tickets = count(1)
        self._subscriptions: dict[str, Subscription] = {}
        self.effects: list[Effect] = []
        """What `take` would give."""

    def take(self) -> list[Effect]:
        """The effects since the last call, in order."""
        effects, self.effects = self.effects, []
        return effects

    @property
    def deadline_s(self) -> float:
        """When `tick` is due next, in the clock of `now_s`."""
        if self.caller is None:
            return self._auth_deadline_s
        return min(self._heartbeat_at_s, self.caller.expires_at_s)

    # inputs: time and identity

    def credential(self, token: str) -> None:
        """The handshake or a message brought a token."""
        self._do(Verify(token))

    def verified(self, caller: Caller, now_s: float) -> None:
        """The token is good; the first one subscribes what the URL asked for, a later one extends the time."""
        if self.closed:
            return
        if self.caller is not None and self.caller.wallet != caller.wallet:
            self.close(CloseCode.UNAUTHORISED, "token of another wallet")
            return
        first, self.caller = self.caller is None, caller
        if not self._expired(now_s):
            limits = self._limits
            self._say(
                frames.welcome(caller.wallet, caller.expires_at_s, limits.heartbeat_s, limits.channels_max, now_s)
            )
            if first:
                self._subscribe(ClientMessage("subscribe", self._wanted), now_s)

    @property
    def channels(self) -> tuple[str, ...]:
        """What it is subscribed to."""
        return tuple(self._subscriptions)

    def refused(self) -> None:
        """The token is worth nothing."""
        self.close(CloseCode.UNAUTHORISED, "invalid token")

    def tick(self, now_s: float) -> None:
        """Time has passed: end what has no valid token, and show the others that the line is alive."""
        if self.closed or self._expired(now_s):
            return
        if self.caller is None:
            if now_s >= self._auth_deadline_s:
                self.close(CloseCode.UNAUTHORISED, "no token")
        elif now_s >= self._heartbeat_at_s:
            self._ping(now_s)

    def ponged(self, now_s: float) -> float | None:
        """The client has answered a ping, after so many seconds; None when it was not asked.

        Anything else that it sends proves nothing of its browser's network stack.
        """
        pinged_at_s, self._pinged_at_s = self._pinged_at_s, None
        return None if pinged_at_s is None else now_s - pinged_at_s

    # inputs: the client

    def received(self, frame: str | bytes, now_s: float) -> None:
        """A frame of the client; garbage is answered, and too much of it ends the connection (T61)."""
        if self.closed or self._expired(now_s):
            return
        if not self._inbound.take(now_s):
            self._strike("TOO_MANY_MESSAGES", f"at most {self._limits.messages_per_s:g} messages a second", now_s)
            return
        try:
            message = frames.parse_client(frame)
        except MalformedMessage as error:
            self._strike("MALFORMED_MESSAGE", str(error), now_s)
            return
        self._act(message, now_s)

    # inputs: the feed

    def published(self, parcel: Parcel) -> bool:
        """Live messages of a joined channel; True: write the parcel as it is, which spares an effect each time."""
        subscription = self._subscriptions.get(parcel.channel)
        if subscription is None or self.closed:
            return False
        if subscription.follows(parcel):
            return True
        out: list[Packet] = []
        if subscription.published(parcel, out):
            self._ask(subscription)
        self._send(out)
        return False

    def unnumbered(self, channel: str, told: Packet) -> None:
        """A message that may be missed (decisions F2): only who holds the channel's present state is told."""
        subscription = self._subscriptions.get(channel)
        if subscription is not None and subscription.is_live:
            self._do(Send(told))

    def resumed(self, channel: str, ticket: int, missed: Sequence[Numbered], now_s: float) -> None:
        """The answer to `ReadSnapshot` when everything since its position is known."""
        subscription = self._awaiting(channel, ticket)
        if subscription is not None:
            out: list[Packet] = []
            subscription.resumed(missed, now_s, out)
            self._send(out)

    def snapshot(self, channel: str, ticket: int, sheet: Sheet | None, now_s: float) -> None:
        """The answer to `ReadSnapshot`; None: nobody knows this market. Answers to older tickets are ignored."""
        if (subscription := self._awaiting(channel, ticket)) is None:
            return
        if sheet is None:
            self._drop(channel)
            self._error("MARKET_NOT_FOUND", "no such market", now_s, channel)
            return
        out: list[Packet] = []
        if subscription.snapshot(sheet, now_s, out):
            self._ask(subscription, instead_of=sheet)
        self._send(out)

    def snapshot_failed(self, channel: str, ticket: int, now_s: float) -> None:
        """No snapshot could be read: a new subscription ends with an ERROR, an older one would be a silent gap."""
        if (subscription := self._awaiting(channel, ticket)) is None:
            return
        if subscription.position is not None:
            self.close(CloseCode.RESYNC, "state unavailable")
            return
        self._drop(channel)
        self._error("SNAPSHOT_UNAVAILABLE", "the state cannot be read now; subscribe again", now_s, channel)

    def history_lost(self) -> None:
        """Messages may be missing anywhere: every channel starts over from a snapshot."""
        if self.closed:
            return
        for subscription in self._subscriptions.values():
            subscription.rejoin()
            self._ask(subscription)

    def close(self, code: CloseCode, reason: str) -> None:
        """End the connection; the first reason wins."""
        if not self.closed:
            self._do(Close(code, reason))
            self.gone()

    def gone(self) -> None:
        """Nothing more goes out, though a delivery to many may be under way."""
        self.closed = True
        for subscription in self._subscriptions.values():
            subscription.rejoin()

    # the client's actions

    def _act(self, message: ClientMessage, now_s: float) -> None:
        if message.action == "auth":
            assert message.token is not None
            self.credential(message.token)
        elif self.caller is None:
            self._error("UNAUTHENTICATED", "send a token first", now_s)
        elif message.action == "subscribe":
            self._subscribe(message, now_s)
        elif message.action == "unsubscribe":
            self._unsubscribe(message, now_s)
        else:
            self._say(frames.heartbeat(self._held(), now_s))

    def _subscribe(self, message: ClientMessage, now_s: float) -> None:
        for requested in message.channels:
            channel = self._channel(requested, now_s)
            if channel is not None and self._admits(channel, now_s):
                self._start(channel.name, requested, message.resume.get(requested))

    def _unsubscribe(self, message: ClientMessage, now_s: float) -> None:
        for requested in message.channels:
            channel = self._channel(requested, now_s)
            if channel is not None and channel.name in self._subscriptions:
                self._drop(channel.name)

    def _channel(self, requested: str, now_s: float) -> Channel | None:
        try:
            return parse_channel(requested)
        except MalformedChannel:
            self._error("INVALID_CHANNEL", "no such channel", now_s, requested[:NAME_LENGTH_MAX])
            return None

    def _admits(self, channel: Channel, now_s: float) -> bool:
        """Whether this caller may have the channel; refusals are tested in this order."""
        assert self.caller is not None
        if channel.kind is Kind.POSITIONS and channel.key != self.caller.wallet:  # T59
            self._error("CHANNEL_FORBIDDEN", "positions are told to their own wallet only", now_s, channel.name)
            return False
        if channel.name not in self._subscriptions and len(self._subscriptions) >= self._limits.channels_max:
            message = f"a connection has at most {self._limits.channels_max} channels"
            self._error("TOO_MANY_CHANNELS", message, now_s, channel.name)
            return False
        return True

    def _start(self, name: str, requested: str, resume: Position | None) -> None:
        """Live messages first, then the snapshot: what lies between both is in the buffer."""
        if (subscription := self._subscriptions.get(name)) is None:
            subscription = self._subscriptions[name] = Subscription(name)
            self._do(Join(subscription))
        subscription.begin(requested, resume)
        self._ask(subscription)

    def _drop(self, name: str) -> None:
        self._subscriptions.pop(name).rejoin()
        self._do(Leave(name))

    # outputs

    def _ask(self, subscription: Subscription, instead_of: Sheet | None = None) -> None:
        if subscription.gives_up:
            self.close(CloseCode.RESYNC, "state and messages do not meet")
            return
        subscription.ticket = next(self._tickets)
        self._do(ReadSnapshot(subscription.channel, subscription.ticket, instead_of, subscription.resume))

    def _awaiting(self, channel: str, ticket: int) -> Subscription | None:
        subscription = self._subscriptions.get(channel)
        return None if self.closed or subscription is None or subscription.ticket != ticket else subscription

    def _held(self) -> tuple[tuple[str, Position], ...]:
        return tuple((name, at) for name, sub in self._subscriptions.items() if (at := sub.position) is not None)

    def _ping(self, now_s: float) -> None:
        """HEARTBEAT for pages, which do not see pings, and a ping for dead lines."""
        if self._pinged_at_s is not None:
            self.close(CloseCode.PONG_TIMEOUT, "pong timeout")
            return
        self._heartbeat_at_s = now_s + self._limits.heartbeat_s
        self._do(Send(heartbeat(self._held(), now_s)))
        self._pinged_at_s = now_s

    def _expired(self, now_s: float) -> bool:
        """End the connection when its token has run out (T60); tells whether it did."""
        if self.caller is not None and now_s >= self.caller.expires_at_s:
            self.close(CloseCode.UNAUTHORISED, "token expired")
        return self.closed

    def _strike(self, reason: str, message: str, now_s: float) -> None:
        self._strikes += 1
        self._error(reason, message, now_s)
        if self._strikes >= self._limits.strikes_max:
            self.close(CloseCode.POLICY, "too many malformed messages")

    def _error(self, reason: str, message: str, now_s: float, channel: str | None = None) -> None:
        self._say(frames.error(reason, message, now_s, channel))

    def _say(self, text: str) -> None:
        self._do(Send(packet(text)))

    def _send(self, packets: Sequence[Packet]) -> None:
        for each in packets:
            self._do(Send(each))

    def _do(self, effect: Effect) -> None:
        if not self.closed:
            self.effects.append(effect)
