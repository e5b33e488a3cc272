"""A shard process: the Thespian actor around `ShardCore`. It owns one database session and never forks.

Crash-only: any doubt about the database or about itself ends the process with a status of its own, and NodeSupervisor
starts another one, which reads the truth again. Memory never leads the journal.
"""

from __future__ import annotations

import asyncio
import os
import re
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, NoReturn, TypeVar

import structlog
from thespian.actors import Actor, ActorExitRequest, ThespianWatch, WakeupMessage, WatchMessage

from actors.channel import Channel
from actors.factories import resolve
from actors.hardening import listening_host, seal
from actors.messages import (
    Batch,
    ChainNews,
    Drain,
    Drained,
    Neighbours,
    Ping,
    Pong,
    Result,
    ShardBooted,
    StartShard,
    TracedBatch,
    WorkPlanned,
    WorkSettled,
)
from actors.metrics import SHARD_LAG_S, note_batch
from actors.nursery import LOSSES_HEARD
from actors.ports import Journal, Spans
from actors.shard_core import SETTLEMENTS_MAX, ShardCore, ShardSettings
from actors.troubles import shard_restarting
from domain.deadlines import ClockName

EXIT_DOUBT = 75
"""EX_TEMPFAIL: memory may differ from the journal."""
EXIT_NO_START = 76
"""The locks, the database or the factory could not be had; NodeSupervisor waits before it tries again."""
TURN_S_MAX = 0.5
"""The longest pause between two looks at the timers, the settlements and the database session."""
TURN_S_MIN = 0.001
BEAT_S = 2.0
"""How often a shard says in the database how it stands."""
GATEWAYS_MAX = 64
"""Gateways whose last result is kept for a repeat; the one that was silent longest leaves first."""

_UNTRACED: AbstractContextManager[None] = nullcontext()

log = structlog.get_logger("shard")
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class _Announce:
    """Payload of the wakeup for a hint that had to wait."""


@dataclass(frozen=True, slots=True)
class ShardParts:
    """What the composition root hands to a shard process."""

    connect: Callable[[], Awaitable[Journal]]
    settings: ShardSettings
    spans: Spans | None = None


class Shard(Actor):  # type: ignore[misc]  # Thespian ships no types
    """One process of markets. Messages come one at a time; each is finished before the next is read."""

    def __init__(self) -> None:
        super().__init__()
        self._loop = asyncio.new_event_loop()  # uvloop makes two sockets for each run: 95 us a statement, this 50
        self._core: ShardCore | None = None
        self._journal: Journal | None = None
        self._spans: Spans | None = None
        self._channel: Channel | None = None
        self._slot = ""
        self._agent: Any = None
        self._answered: dict[str, Result] = {}
        self._draining = False
        self._turn_at_s = time.monotonic()
        self._will_announce = False
        self._restarts = self._recent_losses = 0
        self._beat_at_s = 0.0

    def receiveMessage(self, message: Any, sender: Any) -> ThespianWatch | None:  # noqa: N802  # Thespian's name
        """Handle one message; whatever goes wrong ends the process. Thespian shall watch the channel meanwhile."""
        try:
            self._receive(message, sender)
        except BaseException as doubt:  # SystemExit too: a half-done turn must not be followed by another
            self._die(EXIT_DOUBT, doubt)
        return ThespianWatch(self._channel.descriptors) if self._channel is not None else None

    def _receive(self, message: Any, sender: Any) -> None:
        match message:
            case WakeupMessage(payload=_Announce()):
                self._will_announce = False
                self._after_commit()
            case WakeupMessage():
                self._turn()
            case WatchMessage(ready=ready):
                self._read(ready)
            case Ping(number):
                self.send(sender, Pong(number, os.getpid()))
            case ChainNews():
                self._hear(message)
            case WorkSettled():
                self._settle()
            case StartShard():
                self._start(message, sender)
            case Neighbours(agent=agent):
                self._agent = agent
                self._tell_agent()
            case Drain():
                self._drain()
                self.send(sender, Drained(os.getpid()))
            case ActorExitRequest():
                self._drain()
            case _:
                log.warning("unknown message", kind=type(message).__name__)

    def _start(self, start: StartShard, sender: Any) -> None:
        self.send(sender, Pong(0, os.getpid()))  # so that a start that hangs can be ended by pid
        try:
            parts: ShardParts = resolve(start.factory)(start)
            self._slot, self._spans = start.slot, parts.spans
            self._restarts, self._recent_losses = start.attempt - 1, start.recent_losses
            self._journal = self._run(parts.connect())
            self._core = ShardCore(self._journal, parts.settings, spans=self._spans)
            port = own_port(self.myAddress)
            epochs = self._run(self._core.boot(start.virtual_shards, start.host, port, os.getpid(), start.slot))
            self._channel = Channel(listening_host(), seal())
            if start.recent_losses >= LOSSES_HEARD:
                self._run(self._journal.raise_alerts([shard_restarting(start.slot, start.recent_losses)]))
        except Exception as failure:
            self._die(EXIT_NO_START, failure)
        log.info("shard serves", slot=self._slot, virtual_shards=len(epochs), alarms=len(self._core.residents.alarms))
        self.send(sender, ShardBooted(start.slot, start.attempt, os.getpid(), epochs, self._channel.place))
        self._turn()

    def _turn(self) -> None:
        """Take in what others wrote and what has settled, fire what is due, see that the session lives, go on."""
        if self._core is None or self._journal is None or self._draining:
            return
        now_s, pause_s = time.monotonic(), self._pause_s()
        SHARD_LAG_S.set(max(now_s - self._turn_at_s, 0.0))
        self._turn_at_s = now_s + pause_s
        self.wakeupAfter(timedelta(seconds=pause_s))
        self._run(self._core.take_outside())
        self._run(self._core.fire_due())
        self._settle()
        self._show_life()
        self._after_commit()

    def _show_life(self) -> None:
        """One round trip to the database, every two seconds with word of how this shard stands."""
        assert self._core is not None and self._journal is not None
        if time.monotonic() < self._beat_at_s + BEAT_S:
            self._run(self._journal.ping())
            return
        self._beat_at_s = time.monotonic()
        self._run(self._core.beat(self._restarts, self._recent_losses))

    def _pause_s(self) -> float:
        assert self._core is not None
        next_at_s = self._core.residents.alarms.next_at_s(ClockName.CHAIN)
        chain = self._core.residents.chain
        chain_s = chain.unix_s(self._core.monotonic_s())
        if next_at_s is None or chain_s is None or chain.config is None:
            return TURN_S_MAX  # without a GlobalConfig nothing fires, however long it has been due
        return min(max(next_at_s - chain_s, TURN_S_MIN), TURN_S_MAX)

    def _read(self, ready: Sequence[int]) -> None:
        """Answer the batches that have arrived; what comes while it drains is repeated to whoever owns the markets."""
        if self._channel is None or self._draining:
            return
        for line, batch in self._channel.read(ready):
            self._channel.answer(line, self._result(batch))
        self._after_commit()

    def _result(self, batch: Batch) -> Result:
        """The result of a batch; a repeat of the last one of this gateway gets the same result again."""
        last = self._answered.pop(batch.gateway, None)
        result = last if last and last.batch_id == batch.batch_id else self._carry_out(batch)
        self._answered[batch.gateway] = result
        if len(self._answered) > GATEWAYS_MAX:
            del self._answered[next(iter(self._answered))]
        return result

    def _carry_out(self, batch: Batch) -> Result:
        assert self._core is not None
        begun_s = time.perf_counter()
        with self._spanned(batch):
            answers = self._run(self._core.handle(batch))
        note_batch(batch.commands, answers, time.perf_counter() - begun_s)
        return Result(batch.batch_id, answers)

    def _spanned(self, batch: Batch) -> AbstractContextManager[None]:
        """A span around a batch that somebody traces: one for all, for its statements are for all."""
        if self._spans is None or not isinstance(batch, TracedBatch):
            return _UNTRACED
        attributes: dict[str, str | int] = {"zmart.commands": len(batch.commands), "zmart.slot": self._slot}
        return self._spans.work("shard batch", attributes, batch.asked_by)

    def _hear(self, news: ChainNews) -> None:
        if self._core is None:
            return
        self._core.hear(news.clock, news.config)
        self._run(self._core.fire_due())
        self._after_commit()

    def _settle(self) -> None:
        if self._core is not None and not self._draining:
            while self._run(self._core.take_settlements()) == SETTLEMENTS_MAX:
                pass
            self._after_commit()

    def _after_commit(self) -> None:
        """Wake the notifier and the chain agent; both also look by themselves, so a lost hint costs time only."""
        if self._core is not None and self._core.residents.has_news and not self._will_announce:
            self._announce()
        self._tell_agent()

    def _announce(self) -> None:
        """Give the notifier its hint now, or when the last one is long enough ago."""
        assert self._core is not None
        if self._journal is None:
            return
        wait_s = self._core.residents.announce_wait_s()
        if wait_s > 0:
            self._will_announce = True
            self.wakeupAfter(timedelta(seconds=wait_s), _Announce())
            return
        self._run(self._journal.announce_outbox())
        self._core.residents.announced()

    def _tell_agent(self) -> None:
        if self._core is not None and self._core.residents.planned_work and self._agent is not None:
            self._core.residents.planned_work = False
            self.send(self._agent, WorkPlanned())

    def _drain(self) -> None:
        """Between two batches nothing is in flight, so giving up the session is all there is to do."""
        self._draining = True
        if self._channel is not None:
            self._channel.close()
        if self._journal is not None:
            self._run(self._journal.close())
            self._journal = None

    def _run(self, work: Awaitable[_T]) -> _T:
        return self._loop.run_until_complete(work)

    def _die(self, status: int, cause: BaseException) -> NoReturn:
        log.error(
            "shard ends", slot=self._slot, status=status, error=f"{type(cause).__name__}: {cause}", exc_info=cause
        )
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def own_port(address: Any) -> int:
    """The TCP port of a Thespian address, read from its text `ActorAddr-(T|:1900)`."""
    match = re.search(r":(\d+)\)?$", str(address))
    assert match, f"no port in {address}"
    return int(match.group(1))
