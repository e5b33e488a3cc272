"""The mailroom of a shard against stock Thespian's queue: the same actors see the same messages in the same order."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import pytest
from thespian.actors import Actor, ActorExitRequest, ActorSystem, ChildActorExited, PoisonMessage

from actors.household import Household
from actors.mailroom import Mailroom
from domain.ids import MarketId

Seen = list[tuple[str, str]]
_seen: Seen = []


def note(who: str, message: Any) -> None:
    words = message if isinstance(message, str) else type(message).__name__
    _seen.append((who, words))


class Child(Actor):  # type: ignore[misc]  # Thespian ships no types
    def receiveMessage(self, message: Any, sender: Any) -> None:  # noqa: N802  # Thespian's name
        note("child", message)
        if message == "break":
            raise ZeroDivisionError
        if isinstance(message, str):
            self.send(sender, f"{message} done")


class Parent(Actor):  # type: ignore[misc]  # Thespian ships no types
    """Sends on what it is asked to, to its children in turn, and tells the asker when all of them have answered."""

    def __init__(self) -> None:
        super().__init__()
        self._children: list[Any] = []
        self._asker: Any = None
        self._open = 0

    def receiveMessage(self, message: Any, sender: Any) -> None:  # noqa: N802  # Thespian's name
        note("parent", message)
        if isinstance(message, list):
            self._children = self._children or [self.createActor(Child) for _ in range(3)]
            self._asker, self._open = sender, len(message)
            for child, words in zip(self._children, message, strict=False):
                self.send(child, words)
        elif isinstance(message, ActorExitRequest):
            self.send(self._children[1], message)
        elif isinstance(message, str | PoisonMessage):
            self._open -= 1
            if not self._open:
                self.send(self._asker, "all done")


class WithWords(Child):
    """Not made of nothing: it wants to know where it runs."""

    def __init__(self, capabilities: Any) -> None:
        super().__init__()
        note("born in", str(capabilities["Thespian ActorSystem Name"]))


def stock() -> ActorSystem:
    return ActorSystem("simpleSystemBase", logDefs=False, transientUnique=True)


def ours() -> ActorSystem:
    system = stock()
    system._systemBase = Mailroom(system, logDefs=False)
    return system


def seen(make: Callable[[], ActorSystem], play: Callable[[ActorSystem], None]) -> Seen:
    _seen.clear()
    play(make())
    return list(_seen)


def a_round(system: ActorSystem) -> None:
    parent = system.createActor(Parent)
    assert system.ask(parent, ["one", "two", "three"], None) == "all done"
    assert system.ask(parent, ["four"], None) == "all done"


def an_actor_that_breaks(system: ActorSystem) -> None:
    assert system.ask(system.createActor(Parent), ["one", "break", "three"], None) == "all done"


def an_actor_that_ends(system: ActorSystem) -> None:
    parent = system.createActor(Parent)
    system.ask(parent, ["one", "two", "three"], None)
    child = system._systemBase.actorRegistry[f"{parent.actorAddressString}~b"].address
    system.tell(child, ActorExitRequest())
    system.tell(child, "too late")
    assert system.ask(parent, ["four"], None) == "all done"


def one_that_asks_where_it_is(system: ActorSystem) -> None:
    assert system.ask(system.createActor(WithWords), "hello", None) == "hello done"


@pytest.mark.parametrize("play", [a_round, an_actor_that_breaks, an_actor_that_ends, one_that_asks_where_it_is])
def test_actors_see_what_they_see_on_stock_in_the_same_order(
    play: Callable[[ActorSystem], None], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.CRITICAL)
    expected = seen(stock, play)
    assert len(expected) > 1
    assert seen(ours, play) == expected


def test_a_parent_hears_of_a_child_that_has_ended() -> None:
    heard = seen(ours, an_actor_that_ends)
    assert heard.count(("parent", ChildActorExited.__name__)) == 1
    assert ("child", "too late") not in heard


def test_a_market_that_has_left_leaves_nothing_behind_and_can_come_again() -> None:
    household = Household()
    base = household._system._systemBase
    before = len(base.actorRegistry)
    for _ in range(3):
        household.install({MarketId(name): (None, None) for name in "abc"})
        for name in "bca":
            household.evict(MarketId(name))
    assert (len(household), len(base.actorRegistry)) == (0, before)
    household.install({MarketId("b"): (None, None)})
    assert MarketId("b") in household
