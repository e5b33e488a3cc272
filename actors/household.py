"""The in-process actor system of a shard: MarketActors by market, created on first touch, dropped when idle.

Nested Thespian (`simpleSystemBase`) is as fast as asyncio queues and seven times smaller (architecture section 2), as
long as nobody inside uses wakeupAfter, ask, default logging, or lets an exception out (ADR 0003). Its queue is a
`Mailroom`.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from thespian.actors import Actor, ActorExitRequest, ActorSystem

from actors.mailroom import Mailroom
from actors.market_actor import MarketActor
from actors.messages import Install
from domain.deadlines import Deadline
from domain.ids import MarketId
from domain.market import Market

RESIDENTS_MAX = 50_000
"""Live MarketActors a process keeps; the least recently touched leave first (research section 2)."""


@dataclass(frozen=True, slots=True)
class _Round:
    """One message for each of some actors."""

    messages: tuple[tuple[Any, Any], ...]


@dataclass(frozen=True, slots=True)
class _Notice:
    """One message for each of some actors, none of which answers."""

    messages: tuple[tuple[Any, Any], ...]


@dataclass(frozen=True, slots=True)
class _Spawn:
    """Create an actor for each `Install`."""

    installs: tuple[Install, ...]


@dataclass(frozen=True, slots=True)
class _Gathered:
    """Every answer of a round, in no particular order, or the addresses of what was spawned."""

    values: tuple[Any, ...]


class Doorkeeper(Actor):  # type: ignore[misc]  # Thespian ships no types
    """Parent of the MarketActors: passes one round of messages in and gathers the answers."""

    def __init__(self) -> None:
        super().__init__()
        self._asker: Any = None
        self._awaited = 0
        self._answers: list[Any] = []

    def receiveMessage(self, message: Any, sender: Any) -> None:  # noqa: N802  # Thespian's name
        """Run a round, spawn, or take in one answer."""
        match message:
            case _Round(messages):
                self._asker, self._awaited, self._answers = sender, len(messages), []
                for address, each in messages:
                    self.send(address, each)
            case _Notice(messages):
                for address, each in messages:
                    self.send(address, each)
            case _Spawn(installs):
                self.send(sender, _Gathered(tuple(self._spawn(install) for install in installs)))
            case _ if self._awaited:
                self._gather(message)
            case _:  # ChildActorExited of one that was dropped
                pass

    def _spawn(self, install: Install) -> Any:
        address = self.createActor(MarketActor)
        self.send(address, install)
        return address

    def _gather(self, answer: Any) -> None:
        self._answers.append(answer)
        if len(self._answers) == self._awaited:
            self._awaited = 0
            self.send(self._asker, _Gathered(tuple(self._answers)))


class Household:
    """Who lives in this process. Not thread-safe; everything happens when `round` is called."""

    def __init__(self, residents_max: int = RESIDENTS_MAX) -> None:
        self._system = ActorSystem("simpleSystemBase", logDefs=False, transientUnique=True)
        self._system._systemBase = Mailroom(self._system, logDefs=False)
        self._doorkeeper = self._system.createActor(Doorkeeper)
        self._residents: OrderedDict[MarketId, Any] = OrderedDict()
        self._residents_max = residents_max

    def __contains__(self, market_id: MarketId) -> bool:
        return market_id in self._residents

    def __len__(self) -> int:
        return len(self._residents)

    def install(self, states: Mapping[MarketId, tuple[Market | None, Deadline | None]]) -> None:
        """Bring actors to life with the state that the journal holds."""
        installs = tuple(Install(market_id, *state) for market_id, state in states.items())
        addresses = self._system.ask(self._doorkeeper, _Spawn(installs), None).values if installs else ()
        for install, address in zip(installs, addresses, strict=True):
            self._residents[install.market_id] = address

    def round(self, messages: Mapping[MarketId, Any]) -> dict[MarketId, Any]:
        """Give each named actor its message, run until all have answered, and return the answers by market.

        Every market must be installed; an actor's bug comes back as `Broken`.
        """
        if not messages:
            return {}
        for market_id in messages:
            self._residents.move_to_end(market_id)
        addressed = tuple((self._residents[market_id], message) for market_id, message in messages.items())
        gathered = self._system.ask(self._doorkeeper, _Round(addressed), None)
        return {answer.market_id: answer for answer in gathered.values}

    def notify(self, messages: Mapping[MarketId, Any]) -> None:
        """Give each named actor a message that it does not answer; all of them have it when this returns."""
        if messages:
            addressed = tuple((self._residents[market_id], message) for market_id, message in messages.items())
            self._system.tell(self._doorkeeper, _Notice(addressed))

    def evict(self, market_id: MarketId) -> None:
        """Let one actor go; its market is loaded again on the next touch."""
        address = self._residents.pop(market_id)
        self._system.tell(address, ActorExitRequest())
        registry = self._system._systemBase.actorRegistry
        registry.pop(address.actorAddressString, None)  # stock keeps a dead entry of 300 bytes for ever (research 1.5)

    def passivate(self) -> list[MarketId]:
        """Let the least recently touched go until the bound holds; call between two batches."""
        leaving = []
        while len(self._residents) > self._residents_max:
            market_id = next(iter(self._residents))
            self.evict(market_id)
            leaving.append(market_id)
        return leaving
