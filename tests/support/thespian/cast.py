"""The actors of the hardening tests: children that tell their pid, and a parent that can hold still while they die."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from thespian.actors import (
    Actor,
    ActorAddress,
    ChildActorExited,
)
from thespian.system.transport.IPBase import TCPv4ActorAddress


def address_of(port: int) -> Any:
    """The address of whoever listens on that loopback port."""
    return ActorAddress(TCPv4ActorAddress("127.0.0.1", port, external=True))


class Child(Actor):  # type: ignore[misc]  # untyped base
    """Answers ("who",) with its pid and its port; knows nothing else."""

    def receiveMessage(self, message: Any, sender: Any) -> None:  # noqa: N802  # Thespian's name
        if message == ("who",):
            self.send(sender, ("child", os.getpid(), self.myAddress.addressDetails.sockname[1]))


class Stillborn(Actor):  # type: ignore[misc]  # untyped base
    """Its process ends before it can say that it lives."""

    def __init__(self) -> None:
        os._exit(9)


class Parent(Actor):  # type: ignore[misc]  # untyped base
    """Answers each question (name, *arguments) by the method of that name; keeps the notices of deaths."""

    def __init__(self) -> None:
        super().__init__()
        self.births: list[list[int]] = []
        self.pid_by_address: dict[str, int] = {}
        self.deaths: list[int | None] = []  # None for a child that never gave its pid
        self.fifo: str | None = None
        self.asker: Any = None

    def receiveMessage(self, message: Any, sender: Any) -> None:  # noqa: N802  # Thespian's name
        if isinstance(message, ChildActorExited):
            self.deaths.append(self.pid_by_address.get(str(message.childAddress)))
            self._hold()
        elif isinstance(message, tuple) and message[0] == "child":
            self._born(message[1], message[2], sender)
        elif isinstance(message, tuple):
            answer: Callable[..., Any] = getattr(self, "answer_" + message[0])
            self.asker = sender
            reply = answer(*message[1:])
            if reply is not None:
                self.send(sender, reply)

    def answer_who(self) -> list[int]:
        return [os.getpid(), self.myAddress.addressDetails.sockname[1]]

    def answer_spawn(self, count: int) -> None:
        self.births, self.expected = [], count
        for _ in range(count):
            self.send(self.createActor(Child), ("who",))

    def answer_spawn_stillborn(self) -> str:
        self.createActor(Stillborn)
        return "spawned"

    def answer_hold_at_next_death(self, fifo: str) -> str:
        self.fifo = fifo
        return "will hold"

    def answer_deaths(self) -> dict[str, Any]:
        return {"noticed": self.deaths, "watched": len(self._myRef._child_procs)}

    def answer_refused(self) -> int:
        from actors.frames import refused_frames

        return refused_frames()

    def answer_send(self, port: int, count: int) -> str:
        for number in range(count):
            self.send(address_of(port), ("hello", number))
        return "sent"

    def answer_transmits(self) -> dict[str, int]:
        transport = self._myRef.transport
        waiting = len(transport._transmitIntents) + len(transport._waitingTransmits)
        return {"slots_taken": transport._aTB_numPendingTransmits, "waiting": waiting}

    def _born(self, pid: int, port: int, address: Any) -> None:
        self.pid_by_address[str(address)] = pid
        self.births.append([pid, port])
        if len(self.births) == self.expected:
            self.send(self.asker, self.births)

    def _hold(self) -> None:
        if self.fifo is not None:
            fifo, self.fifo = self.fifo, None
            with Path(fifo).open() as gate:
                gate.read()  # returns when the test closes its end
