"""The chain agent process: signs, sends and follows transactions, so that no market waits for Solana.

A desk (asyncio, in a thread of its own) does the work; the actor around it passes hints in and news out. Nothing of
value lives here: what must not be lost is in `chain_transactions` before it is sent.
"""

from __future__ import annotations

import asyncio
import os
import queue
import sys
import threading
from collections.abc import Callable
from datetime import timedelta
from typing import Any, NoReturn, Protocol

import structlog
from thespian.actors import Actor, ActorExitRequest, WakeupMessage

from actors.factories import resolve
from actors.messages import (
    AgentBooted,
    ChainNews,
    Drain,
    Drained,
    Neighbours,
    Ping,
    Pong,
    StartAgent,
    WorkPlanned,
    WorkSettled,
)

EXIT_DESK = 77
"""The desk ended by itself; NodeSupervisor starts another agent, which goes on from the stored rows."""
PASS_ON_S = 0.05
"""How often news is passed on; a confirmation takes a slot of 0.4 s at best."""
NEWS_MAX = 1024
"""News kept for passing on; when it is full the oldest goes, because newer readings replace it."""

log = structlog.get_logger("chain_agent")
News = ChainNews | WorkSettled


class ChainDesk(Protocol):
    """What does the work; `app/wiring.py` builds it of the chain and storage packages."""

    async def run(self, wake: asyncio.Event, publish: Callable[[News], None]) -> None:
        """Work until cancelled: send what is planned, follow what was sent, read clock and GlobalConfig."""
        ...


class ChainAgent(Actor):  # type: ignore[misc]  # Thespian ships no types
    """Passes `WorkPlanned` to the desk and its news to every shard."""

    def __init__(self) -> None:
        super().__init__()
        self._news: queue.Queue[News] = queue.Queue(NEWS_MAX)
        self._loop = asyncio.new_event_loop()
        self._wake = asyncio.Event()
        self._shards: tuple[Any, ...] = ()
        self._last: dict[str, ChainNews] = {}
        self._started = False

    def receiveMessage(self, message: Any, sender: Any) -> None:  # noqa: N802  # Thespian's name
        """Handle one message; whatever goes wrong ends the process."""
        try:
            self._receive(message, sender)
        except BaseException as failure:
            _end("agent ends", failure)

    def _receive(self, message: Any, sender: Any) -> None:
        match message:
            case WakeupMessage():
                self.wakeupAfter(timedelta(seconds=PASS_ON_S))
                self._pass_on()
            case WorkPlanned():
                self._loop.call_soon_threadsafe(self._wake.set)
            case Ping(number):
                self.send(sender, Pong(number, os.getpid()))
            case Neighbours(shards=shards):
                self._shards = shards
                self._greet()
            case StartAgent(factory, attempt):
                self._start(factory)
                self.send(sender, AgentBooted(attempt, os.getpid()))
            case Drain():
                self.send(sender, Drained(os.getpid()))
            case ActorExitRequest():
                pass
            case _:
                log.warning("unknown message", kind=type(message).__name__)

    def _start(self, factory: str) -> None:
        if self._started:
            return
        self._started = True
        desk: ChainDesk = resolve(factory)()
        threading.Thread(target=self._work, args=(desk,), name="chain-desk", daemon=True).start()
        self.wakeupAfter(timedelta(seconds=PASS_ON_S))

    def _work(self, desk: ChainDesk) -> None:
        try:
            asyncio.set_event_loop(self._loop)
            self._loop.run_until_complete(desk.run(self._wake, self._publish))
        except BaseException as failure:
            _end("desk ended", failure)
        _end("desk ended", None)

    def _publish(self, news: News) -> None:
        """Called in the desk's thread."""
        while True:
            try:
                self._news.put_nowait(news)
            except queue.Full:
                self._news.get_nowait()
            else:
                return

    def _pass_on(self) -> None:
        """Send what is new; of several clock readings only the last one is worth a message."""
        clock, config, settled = None, None, False
        for _ in range(self._news.qsize()):
            match self._news.get_nowait():
                case ChainNews() as news:
                    clock, config = news.clock or clock, news.config or config
                case WorkSettled():
                    settled = True
        if clock or config:
            self._remember(ChainNews(clock, config))
            self._tell(ChainNews(clock, config))
        if settled:
            self._tell(WorkSettled())

    def _remember(self, news: ChainNews) -> None:
        if news.clock:
            self._last["clock"] = ChainNews(news.clock, None)
        if news.config:
            self._last["config"] = ChainNews(None, news.config)

    def _greet(self) -> None:
        for news in self._last.values():
            self._tell(news)

    def _tell(self, news: News) -> None:
        for shard in self._shards:
            self.send(shard, news)


def _end(what: str, failure: BaseException | None) -> NoReturn:
    log.error(what, error=str(failure), exc_info=failure)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(EXIT_DESK)
