"""The queue of the in-process actor system: stock Thespian's, without the looks that only its own messages need.

A shard passes three messages for every market of a batch, so the price of one is a part of every vote's. Methods of
4.0.1 are replaced here; `hardening.harden` refuses any other release. Whatever is not a plain message to a living actor
goes stock's way (docs/adr/0030-mailroom.md).
"""

from __future__ import annotations

import functools
import inspect
from typing import Any

from thespian.actors import ActorSystemMessage
from thespian.system import simpleSystemBase


class _Reference(simpleSystemBase.ActorRef):  # type: ignore[misc]  # untyped base
    """An actor's name for itself, without a list of its children: none of ours ends before them.

    Stock searches that list whenever one of them ends: 7 ms among 50,000.
    """

    def addChild(self, _address: Any) -> None:  # noqa: N802  # Thespian's name
        self._childCounter += 1  # the next child's address is made of it

    def actor_send(self, to: Any, message: Any) -> None:
        queue = self._system._systemBase._pendingSends
        queue.append(simpleSystemBase.PendingSend(self._addr, message, to))


class Mailroom(simpleSystemBase.ActorSystemBase):  # type: ignore[misc]  # untyped base
    """Delivers one message after the other, in the order of sending. For one thread, and for actors without wakeups."""

    def _runSends(self, _timeout: Any = None, stop_on_available: Any = False) -> None:  # noqa: N802
        """Until nothing is on its way, or whoever asked has an answer. Stock looks at two clocks for each message."""
        queue, registry = self._pendingSends, self.actorRegistry
        while queue:
            sent = queue.pop(0)
            target = registry.get(sent.toActor.addressDetails)
            if target is None or not target.instance or sent.attempts or isinstance(sent.msg, ActorSystemMessage):
                self._runSingleSend(sent)
                continue
            self._callActorWithMessage(target, sent, sent.msg, sent.sender)
            if target is stop_on_available:
                return

    def newActor(self, parent_address: Any, actor_class: Any, system: Any, *asked: Any) -> Any:  # noqa: N802
        """Stock describes each new actor in a line for a log that nobody reads."""
        if any(asked):
            return super().newActor(parent_address, actor_class, system, *asked)
        parent = self.actorRegistry[parent_address.actorAddressString]
        address = simpleSystemBase._newChildAddress(parent)
        parent.addChild(address)
        self.actorRegistry[address.actorAddressString] = self._newRefAndActor(
            system, parent_address, address, actor_class
        )
        return address

    def _newRefAndActor(  # noqa: N802
        self, system: Any, parent: Any, address: Any, actor_class: Any, *more: Any, **named: Any
    ) -> Any:
        """Stock reads the signature of `__init__` twice for each actor: half of what it cost to wake a market."""
        if not _is_made_of_nothing(actor_class):
            return super()._newRefAndActor(system, parent, address, actor_class, *more, **named)
        actor = actor_class()
        reference = _Reference(system, parent, address, actor)
        actor._myRef, actor._receive = reference, actor.receiveMessage
        return reference


@functools.cache
def _is_made_of_nothing(actor_class: type) -> bool:
    return len(inspect.signature(actor_class).parameters) == 0
