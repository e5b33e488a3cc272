"""NodeSupervisor: spawns, watches and heals the shards and the chain agent of its host.

It parents only local children, holds no lasting connection (a lock holder never forks, so a forker never holds a lock),
and learns of a death twice: by Thespian's notice and by looking at pids and heartbeats itself.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import structlog
from thespian.actors import Actor, ActorExitRequest, ChildActorExited, WakeupMessage

from actors.chain_agent import ChainAgent
from actors.messages import (
    AgentBooted,
    Drain,
    Drained,
    Moved,
    Neighbours,
    NodeStarted,
    Ping,
    Pong,
    ShardBooted,
    StartAgent,
    StartNode,
    StartShard,
    Subscribe,
)
from actors.nursery import Child, shares
from actors.shard import Shard
from domain.ids import VIRTUAL_SHARDS

LOOK_S = 0.25
"""How often pids and heartbeats are looked at."""
GATEWAY_SILENCE_S_MAX = 30.0
"""A gateway that has not subscribed again for this long is forgotten."""
AGENT = "agent"
GLOBAL_NAME = "zmart-node-supervisor"

log = structlog.get_logger("supervisor")


@dataclass(frozen=True, slots=True)
class _Look:
    """Payload of the periodic wakeup."""


@dataclass(frozen=True, slots=True)
class _Respawn:
    """Payload of a wakeup that starts a child again."""

    slot: str
    attempt: int


class NodeSupervisor(Actor):  # type: ignore[misc]  # Thespian ships no types
    """Keeps every place of this host filled."""

    def __init__(self) -> None:
        super().__init__()
        self._start: StartNode | None = None
        self._children: dict[str, Child] = {}
        self._gateways: dict[str, tuple[Any, float]] = {}
        self._draining: Any = None
        self._undrained: set[str] = set()
        self._pings = 0

    def receiveMessage(self, message: Any, sender: Any) -> None:  # noqa: N802  # Thespian's name
        """Handle one message; a bug ends the process, and the launcher builds a new tree."""
        try:
            self._receive(message, sender)
        except Exception as bug:
            log.error("supervisor ends", error=str(bug), exc_info=bug)
            os._exit(70)

    def _receive(self, message: Any, sender: Any) -> None:
        match message:
            case WakeupMessage(payload=_Look()):
                self.wakeupAfter(timedelta(seconds=LOOK_S), _Look())  # first, or one failure would end the watch
                self._look()
            case WakeupMessage(payload=_Respawn(slot, attempt)):
                if self._children[slot].attempt == attempt and self._children[slot].address is None:
                    self._spawn(slot)
            case Pong(_, pid):
                self._heard(sender, pid)
            case ShardBooted():
                self._booted(message, sender)
            case AgentBooted(attempt, pid):
                self._agent_booted(attempt, pid, sender)
            case Subscribe(gateway):
                self._subscribe(gateway, sender)
            case ChildActorExited():
                self._exited(message.childAddress)
            case StartNode():
                self._begin(message, sender)
            case Drain():
                self._drain(sender)
            case Drained():
                self._drained(sender)
            case ActorExitRequest():
                pass
            case _:
                log.warning("unknown message", kind=type(message).__name__)

    # --- starting -------------------------------------------------------------------------------------------------

    def _begin(self, start: StartNode, sender: Any) -> None:
        if self._start is None:
            self._start = start
            for slot in [*(f"{start.host}/{index}" for index in range(start.shard_count)), AGENT]:
                self._children[slot] = Child(slot)
                self._spawn(slot)
            self.wakeupAfter(timedelta(seconds=LOOK_S), _Look())
        self.send(sender, NodeStarted(os.getpid()))

    def _spawn(self, slot: str) -> None:
        if self._start is None or self._draining is not None:
            return
        child = self._children[slot]
        address = self.createActor(ChainAgent if slot == AGENT else Shard)
        attempt = child.spawned(address, time.monotonic())
        if slot == AGENT:
            self.send(address, StartAgent(self._start.agent_factory, attempt))
            return
        index = int(slot.rpartition("/")[2])
        share = shares(VIRTUAL_SHARDS, self._start.shard_count)[index]
        losses = child.recent_losses(time.monotonic())
        self.send(address, StartShard(self._start.shard_factory, slot, self._start.host, share, attempt, losses))

    def _booted(self, booted: ShardBooted, sender: Any) -> None:
        child = self._children[booted.slot]
        if child.address != sender or child.attempt != booted.attempt:
            return  # of an attempt that was given up
        child.serves(booted.pid, dict(booted.epochs), time.monotonic(), booted.door)
        log.info("shard booted", slot=booted.slot, pid=booted.pid, attempt=booted.attempt)
        self._introduce()
        for gateway, _ in self._gateways.values():
            self.send(gateway, Moved(child.slot, child.door, child.epochs))

    def _agent_booted(self, attempt: int, pid: int, sender: Any) -> None:
        child = self._children[AGENT]
        if child.address == sender and child.attempt == attempt:
            child.serves(pid, {}, time.monotonic())
            self._introduce()

    def _introduce(self) -> None:
        """Tell every child who the others are."""
        serving = [child for child in self._children.values() if child.booted]
        shards = tuple(child.address for child in serving if child.slot != AGENT)
        agent = self._children[AGENT].address if self._children[AGENT].booted else None
        for child in serving:
            self.send(child.address, Neighbours(shards, agent))

    def _subscribe(self, gateway: str, sender: Any) -> None:
        """Answer with every serving slot, each time: one `Moved` that was lost must not cut a slot off."""
        self._gateways[gateway] = (sender, time.monotonic())
        for child in self._children.values():
            if child.booted and child.slot != AGENT:
                self.send(sender, Moved(child.slot, child.door, child.epochs))

    # --- watching -------------------------------------------------------------------------------------------------

    def _look(self) -> None:
        now_s = time.monotonic()
        self._pings += 1
        for child in self._children.values():
            if child.address is None:
                continue
            if child.pid is not None and not _alive(child.pid):
                self._lost(child, "its pid is gone")
            elif child.overdue(now_s):
                self._kill(child)
            else:
                self.send(child.address, Ping(self._pings))
        silent = [key for key, (_, at_s) in self._gateways.items() if now_s - at_s > GATEWAY_SILENCE_S_MAX]
        for key in silent:
            del self._gateways[key]

    def _heard(self, sender: Any, pid: int) -> None:
        child = self._child_at(sender)
        if child is not None:
            child.heard(pid, time.monotonic())

    def _exited(self, address: Any) -> None:
        child = self._child_at(address)
        if child is not None:
            self._lost(child, "it exited")

    def _lost(self, child: Child, why: str) -> None:
        delay_s = child.lost(time.monotonic())
        self._undrained.discard(child.slot)
        if self._draining is not None:
            log.info("child ended", slot=child.slot)
            self._drained(None)  # one that dies while it drains has nothing in flight any more either
            return
        log.warning("child lost", slot=child.slot, why=why, restart_in_s=delay_s, failures=child.failures)
        if delay_s:
            self.wakeupAfter(timedelta(seconds=delay_s), _Respawn(child.slot, child.attempt))
        else:
            self._spawn(child.slot)

    def _kill(self, child: Child) -> None:
        """End a silent child; what it held is free when it is gone, and its death is seen like any other."""
        log.error("child is silent", slot=child.slot, pid=child.pid, booted=child.booted)
        if child.pid is None:
            self.send(child.address, ActorExitRequest())
            self._lost(child, "it never spoke")
            return
        child.killed()
        with contextlib.suppress(ProcessLookupError):
            os.kill(child.pid, signal.SIGKILL)

    def _child_at(self, address: Any) -> Child | None:
        return next((child for child in self._children.values() if child.address == address), None)

    # --- stopping -------------------------------------------------------------------------------------------------

    def _drain(self, sender: Any) -> None:
        """Let every child finish what it has begun; `Drained` goes back when all have."""
        self._draining = sender
        self._undrained = {child.slot for child in self._children.values() if child.booted}
        for slot in self._undrained:
            self.send(self._children[slot].address, Drain())
        self._drained(None)

    def _drained(self, sender: Any) -> None:
        child = self._child_at(sender) if sender is not None else None
        if child is not None:
            self._undrained.discard(child.slot)
        if not self._undrained and self._draining is not None:
            self.send(self._draining, Drained(os.getpid()))


def _alive(pid: int) -> bool:
    """Whether the process exists and is no zombie: a zombie's notice may be the one that Thespian lost."""
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as stat:  # noqa: PTH123  # twice a second
            return stat.read().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False
