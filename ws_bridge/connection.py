"""Joins a session to its socket, the hub and the clock: carries out effects in order, and never waits for a client."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from domain.connections import ConnectionLook
from ws_bridge import metrics
from ws_bridge.admission import Admission
from ws_bridge.hub import Hub, Parcels
from ws_bridge.laggards import Laggards
from ws_bridge.packets import Packet
from ws_bridge.ports import Caller, Tokens
from ws_bridge.session import Close, CloseCode, Join, Leave, ReadSnapshot, Send, Session, Verify
from ws_bridge.snapshots import SnapshotDesk
from ws_bridge.subscription import Sheet, Subscription

log = logging.getLogger(__name__)


class Wire(Protocol):
    """The socket, as far as a connection needs it; nothing here waits."""

    @property
    def backlog_bytes(self) -> int:
        """Bytes written but not yet taken by the kernel."""
        ...

    def write(self, packets: Sequence[Packet]) -> int:
        """Queue frames in order; a socket that is closing takes none. The backlog then."""
        ...

    def close(self, code: int, reason: str) -> None:
        """Begin to close; bounded in time even when the client reads nothing."""
        ...


class Cancellable(Protocol):
    """A timer that has not fired yet."""

    def cancel(self) -> None:
        """Never fire."""
        ...


@dataclass(frozen=True)
class Surroundings:
    """What all connections of a process share."""

    hub: Hub
    desk: SnapshotDesk
    tokens: Tokens
    admission: Admission
    laggards: Laggards
    wall_s: Callable[[], float]
    call_later: Callable[[float, Callable[[], None]], Cancellable]
    backlog_bytes_max: int


class Seat:
    """A connection's place in a channel: what simply follows goes to the socket from here.

    Thousands are visited for a message, each by then gone from the processor's cache: what counts is how little of a
    connection a visit looks at.
    """

    __slots__ = ("_connection", "_subscription", "_wire")

    def __init__(self, connection: Connection, subscription: Subscription, wire: Wire) -> None:
        self._connection, self._subscription, self._wire = connection, subscription, wire

    def deliver(self, parcels: Parcels) -> None:
        """Live messages of this channel."""
        if len(parcels) == 1 and self._subscription.follows(parcels[0]):
            if backlog_bytes := self._wire.write(parcels):
                self._connection.behind(backlog_bytes)
        else:
            self._connection.deliver(parcels)


class Connection:
    """One connected client: a member of the hub and a subscriber of the snapshot desk."""

    __slots__ = ("_around", "_channels", "_flushing", "_timer", "_timer_at_s", "_wall_s", "_wire", "session", "wallet")

    def __init__(self, session: Session, wire: Wire, around: Surroundings) -> None:
        self.session = session
        self._wire, self._around, self._wall_s = wire, around, around.wall_s
        self.wallet: str | None = None
        self._channels: dict[str, None] = {}
        self._flushing = False
        self._timer: Cancellable | None = None
        self._timer_at_s = 0.0

    # from the socket

    def opened(self, token: str | None) -> None:
        """The handshake is done."""
        self._around.hub.enter(self)
        if token is not None:
            self.session.credential(token)
        self.flush()

    def received(self, frame: str | bytes) -> None:
        """A frame of the client."""
        self.session.received(frame, self._wall_s())
        self.flush()

    def ponged(self) -> None:
        """The client has answered a ping."""
        rtt_s = self.session.ponged(self._wall_s())
        if rtt_s is not None:
            metrics.PING_RTT_SECONDS.observe(max(0.0, rtt_s))

    def gone(self) -> None:
        """The socket is closed; nothing of this connection stays behind."""
        self.session.gone()
        self._around.hub.exit(self, tuple(self._channels))
        self._channels.clear()
        self._around.laggards.forget(self)
        if self.wallet is not None:
            self._around.admission.leave_wallet(self.wallet)
        if self._timer is not None:
            self._timer.cancel()

    def close(self, code: CloseCode, reason: str) -> None:
        """End the connection for a reason of the server's."""
        self.session.close(code, reason)
        self.flush()

    # from the hub and the desk

    def deliver(self, parcels: Parcels) -> None:
        """Live messages of one tick, in one write; what follows what the client has goes out as it came."""
        session = self.session
        if len(parcels) == 1:
            passed_on: Sequence[Packet] = parcels if session.published(parcels[0]) else ()
        else:
            passed_on = [parcel for parcel in parcels if session.published(parcel)]
        # before the effects: none of this connection is older, and none of these messages' channels has one
        if passed_on and (backlog_bytes := self._wire.write(passed_on)):
            self.behind(backlog_bytes)
        if session.effects:
            self.flush()

    def unnumbered(self, channel: str, told: Packet) -> None:
        """A message that may be missed: only a client that has taken everything so far is told."""
        if self._wire.backlog_bytes:
            metrics.CONFLATED.inc()
        else:
            self.session.unnumbered(channel, told)

    @property
    def backlog_bytes(self) -> int:
        """What the client has not taken yet."""
        return self._wire.backlog_bytes

    def look(self) -> ConnectionLook:
        """What an operator sees of it."""
        open_s = round(self._wall_s() - self.session.began_at_s, 1)
        return ConnectionLook(self.wallet or "", len(self._channels), open_s, self.backlog_bytes)

    def too_slow(self) -> None:
        """End a connection that does not take what it is told; its client resumes, or starts from a snapshot."""
        if not self.session.closed:
            log.info("closing a slow consumer with %d bytes of backlog", self._wire.backlog_bytes)
            self.session.close(CloseCode.SLOW_CONSUMER, "slow consumer")
            self.session.take()
            self._end(CloseCode.SLOW_CONSUMER, "slow consumer")

    def history_lost(self) -> None:
        """Messages may be missing."""
        self.session.history_lost()

    def snapshot(self, channel: str, ticket: int, sheet: Sheet | None) -> None:
        """A snapshot that was asked for."""
        self.session.snapshot(channel, ticket, sheet, self._wall_s())
        self.flush()

    def snapshot_failed(self, channel: str, ticket: int) -> None:
        """A snapshot that could not be read."""
        self.session.snapshot_failed(channel, ticket, self._wall_s())
        self.flush()

    def flush(self) -> None:
        """Carry out the session's effects until it has none; a call from within (a ready snapshot) joins the outer."""
        if self._flushing:
            return
        if not self.session.effects and self._timer is not None:
            return
        self._flushing = True
        try:
            packets: list[Packet] = []
            while effects := self.session.take():
                for effect in effects:
                    self._carry_out(effect, packets)
            self._write(packets)
            self._arm()
        finally:
            self._flushing = False

    def _carry_out(self, effect: object, packets: list[Packet]) -> None:
        match effect:
            case Send(packet):
                packets.append(packet)
            case Verify(token):
                self._verify(token)
            case Join(subscription):
                self._channels[subscription.channel] = None
                self._around.hub.join(subscription.channel, self, Seat(self, subscription, self._wire))
            case Leave(channel):
                self._channels.pop(channel, None)
                self._around.hub.leave(channel, self)
            case ReadSnapshot():
                self._read(effect)
            case Close(code, reason):
                self._write(packets)
                packets.clear()
                self._end(code, reason)

    def _read(self, wish: ReadSnapshot) -> None:
        """What the client missed if that is known, else the present state."""
        missed = None if wish.since is None else self._around.hub.history.since(wish.channel, wish.since)
        metrics.RECOVERIES.labels("snapshot" if missed is None else "exact").inc()
        if missed is None:
            self._around.desk.request(wish.channel, wish.ticket, self, wish.instead_of)
        else:
            self.session.resumed(wish.channel, wish.ticket, missed, self._wall_s())

    def _verify(self, token: str) -> None:
        try:
            caller = self._around.tokens.verify(token)
        except ValueError:  # the reason may repeat parts of the token, so it is not logged (T60)
            self.session.refused()
        else:
            self._identified(caller)

    def _identified(self, caller: Caller) -> None:
        if self.wallet is None and not self.session.closed:
            if not self._around.admission.enter_wallet(caller.wallet):
                metrics.REJECTS.labels("wallet").inc()
                self.session.close(CloseCode.OVER_CAPACITY, "too many connections of this wallet")
                return
            self.wallet = caller.wallet
        self.session.verified(caller, self._wall_s())

    def _write(self, packets: list[Packet]) -> None:
        if packets and (backlog_bytes := self._wire.write(packets)):
            self.behind(backlog_bytes)

    def behind(self, backlog_bytes: int) -> None:
        """The client has not taken all; one that has not taken the last 256 KiB is closed (T62)."""
        self._around.laggards.watch(self, backlog_bytes, self._wall_s())
        if backlog_bytes > self._around.backlog_bytes_max:
            self.too_slow()

    def _end(self, code: CloseCode, reason: str) -> None:
        metrics.CLOSES.labels(str(int(code))).inc()
        self._wire.close(code, reason)

    def _arm(self) -> None:
        """One timer a connection, moved only when the session's next deadline moves."""
        if self.session.closed:
            return
        deadline_s = self.session.deadline_s
        if self._timer is None or deadline_s != self._timer_at_s:
            if self._timer is not None:
                self._timer.cancel()
            self._timer_at_s = deadline_s
            delay_s = max(0.0, deadline_s - self._wall_s())
            self._timer = self._around.call_later(delay_s, self._tick)

    def _tick(self) -> None:
        self._timer = None
        self.session.tick(self._wall_s())
        self.flush()
