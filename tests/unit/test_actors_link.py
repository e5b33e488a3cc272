"""One link and its shard: what is sent again, what a late answer is worth, and what is left at the end."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Callable
from types import SimpleNamespace
from typing import Any

import pytest

from actors import link as link_module
from actors.link import Link, NotReached, OutcomeUnknown, Waiting
from actors.messages import Answer, Batch, Moved, Result, WrongOwner
from domain.outcomes import VoteTaken
from domain.tally import Tally
from tests.support.eventually import eventually_async
from tests.support.markets import vote

TAKEN = VoteTaken("id", Tally(), False, 1, b"leaf")


class Context:
    """Stands in for the way to a shard; `answer` says what comes of each sending, None for nothing at all."""

    def __init__(self, *_: Any) -> None:
        self.sent: list[Batch] = []
        self.answer: Callable[[Batch], Answer | None] = lambda _: TAKEN
        self.renewed = 0

    def ask(self, _address: Any, batch: Batch, _timeout_s: float) -> Result | None:
        self.sent.append(batch)
        answer = self.answer(batch)
        return None if answer is None else Result(batch.batch_id, (answer,) * len(batch.commands))

    def listen(self, timeout_s: float) -> None:
        threading.Event().wait(timeout_s)

    def renew(self) -> None:
        self.renewed += 1


class Places:
    """One shard, and where it is."""

    def __init__(self) -> None:
        self.at: Moved | None = Moved("slot", "somewhere", {0: 1})
        self.silences = 0

    def place(self, _slot: str) -> Moved | None:
        return self.at

    def wait_for_news(self, timeout_s: float) -> None:
        threading.Event().wait(min(timeout_s, 0.01))

    def silent(self) -> None:
        self.silences += 1


class Line:
    """A link with both its ends."""

    def __init__(self) -> None:
        self.places, self.stopping = Places(), threading.Event()
        self.link = Link(self.places, "slot", 0, asyncio.get_running_loop(), self.stopping)
        self.context: Context = self.link._context  # type: ignore[assignment]  # the stand-in

    def put(self) -> asyncio.Future[Answer]:
        future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self.link.put(Waiting(vote(1), future, time.monotonic() + 5.0))
        return future


@pytest.fixture
async def line(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Line]:
    monkeypatch.setattr(link_module, "Context", Context)
    monkeypatch.setattr(link_module, "REPLY_S_MIN", 0.02)
    line = Line()
    yield line
    line.stopping.set()
    line.link.wake()


async def test_an_unanswered_batch_goes_again_with_the_same_key(line: Line) -> None:
    line.context.answer = lambda _: TAKEN if len(line.context.sent) == 3 else None
    assert await line.put() == TAKEN
    assert len({batch.batch_id for batch in line.context.sent}) == 1
    assert (len(line.context.sent), line.context.renewed, line.places.silences) == (3, 2, 2)


async def test_each_wait_in_vain_is_longer_than_the_last(line: Line, monkeypatch: pytest.MonkeyPatch) -> None:
    waits: list[float] = []

    def no_answer(_place: Moved, _batch: Batch, until_s: float) -> None:
        waits.append(until_s)

    monkeypatch.setattr(line.link, "_exchange", no_answer)
    monkeypatch.setattr(link_module, "REPLY_S_MAX", 0.1)
    monkeypatch.setattr(link_module, "time", SimpleNamespace(monotonic=lambda: 0.0))
    line.context.renew = lambda: line.stopping.set() if len(waits) == 4 else None  # type: ignore[method-assign]
    with pytest.raises(OutcomeUnknown):
        await line.put()
    assert waits == [0.02, 0.04, 0.08, 0.1]


async def test_a_wrong_owner_at_once_has_done_nothing(line: Line) -> None:
    line.context.answer = lambda _: WrongOwner()
    assert await line.put() == WrongOwner(in_doubt=False)


async def test_a_wrong_owner_after_silence_says_nothing_about_who_was_silent(line: Line) -> None:
    line.context.answer = lambda _: WrongOwner() if len(line.context.sent) == 2 else None
    assert await line.put() == WrongOwner(in_doubt=True)


async def test_what_is_queued_at_the_end_is_answered(line: Line) -> None:
    line.context.answer = lambda _: None
    in_flight = line.put()

    async def sent() -> bool:
        return bool(line.context.sent)

    await eventually_async(sent)
    queued = [line.put() for _ in range(3)]
    line.stopping.set()
    line.link.wake()
    with pytest.raises(OutcomeUnknown):
        await in_flight
    for future in queued:
        with pytest.raises(NotReached):
            await future
    with pytest.raises(NotReached):
        line.put()
