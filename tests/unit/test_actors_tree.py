"""The actors around the core, one at a time and without a transport: when they look again, and how they end."""

from __future__ import annotations

import os
from typing import Any

import pytest

from actors.messages import Drain, Drained, ShardBooted, StartNode
from actors.nursery import Child
from actors.shard import TURN_S_MAX, TURN_S_MIN, Shard
from actors.shard_core import ShardCore, ShardSettings
from actors.supervisor import NodeSupervisor
from domain.deadlines import ClockName, Deadline
from domain.ids import VIRTUAL_SHARDS
from domain.observed import ChainClock
from storage.memory import MemoryJournal
from storage.memory_tables import MemoryDatabase
from tests.support.markets import NOON_S, FiveMinutes, config, market_id

LAUNCHER = "launcher"


class Told:
    """A supervisor with two shards that serve, and what it has sent."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.sent: list[tuple[Any, Any]] = []
        self.supervisor = NodeSupervisor()
        monkeypatch.setattr(self.supervisor, "send", lambda to, message: self.sent.append((to, message)))
        self.supervisor._start = StartNode("run", "host", 2, "shards", "agents")
        for name in ("host/0", "host/1"):
            child = Child(name)
            attempt = child.spawned(name, 0.0)
            self.supervisor._children[name] = child
            self.supervisor._children.setdefault("agent", Child("agent"))
            self.receive(ShardBooted(name, attempt, os.getpid(), {0: 1}, ("here", 1)), name)

    def receive(self, message: Any, sender: Any) -> None:
        self.supervisor.receiveMessage(message, sender)

    @property
    def drained(self) -> bool:
        return any(to == LAUNCHER and isinstance(message, Drained) for to, message in self.sent)


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> Told:
    return Told(monkeypatch)


def test_a_drain_ends_with_the_last_answer(told: Told) -> None:
    told.receive(Drain(), LAUNCHER)
    told.receive(Drained(1), "host/0")
    assert not told.drained
    told.receive(Drained(2), "host/1")
    assert told.drained


def test_a_child_that_dies_while_it_drains_does_not_hold_the_drain_up(told: Told) -> None:
    told.receive(Drain(), LAUNCHER)
    told.receive(Drained(1), "host/0")
    told.supervisor._lost(told.supervisor._children["host/1"], "it exited")
    assert told.drained


async def test_without_a_global_config_a_deadline_that_is_due_is_no_reason_to_hurry() -> None:
    core = ShardCore(MemoryJournal(MemoryDatabase()), ShardSettings(FiveMinutes(), 10, lambda: NOON_S, lambda: 0.0))
    await core.boot(range(VIRTUAL_SHARDS), "host", 1, 4_000_000)
    core.residents.alarms.set(market_id(), Deadline(NOON_S - 1, ClockName.CHAIN))
    core.hear(ChainClock(10, NOON_S), None)
    shard = Shard()
    shard._loop.close()
    shard._core = core
    assert shard._pause_s() == TURN_S_MAX
    core.hear(None, config())
    assert shard._pause_s() == TURN_S_MIN
