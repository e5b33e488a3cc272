"""One link and its shard: what is sent again, what a late answer is worth, and what is left at the end."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from types import SimpleNamespace
from typing import Any

import pytest

from actors import link as link_module
from actors.link import Link, NotReached, OutcomeUnknown, Overloaded, Waiting
from actors.messages import Answer, Batch, Moved, WrongOwner
from tests.support.channel import TAKEN, Shard, seal
from tests.support.eventually import eventually_async
from tests.support.markets import market_id, vote


class Places:
    """One shard, and where it is."""

    def __init__(self, shard: Shard) -> None:
        self.at: Moved | None = Moved("slot", shard.door, {0: 1})
        self.silences = 0

    def place(self, _slot: str) -> Moved | None:
        return self.at

    async def news(self, until_s: float) -> None:
        await asyncio.sleep(min(max(until_s - time.monotonic(), 0.0), 0.01))

    def silent(self) -> None:
        self.silences += 1


class Scene:
    """A link with both its ends."""

    def __init__(self) -> None:
        self.shard = Shard()
        self.places = Places(self.shard)
        self.link = Link(self.places, "slot", seal())

    def put(self, expires_in_s: float = 60.0, market: int = 1) -> asyncio.Future[Answer]:
        future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self.link.put(Waiting(vote(1, market_id=market_id(market)), future, time.monotonic() + expires_in_s))
        return future

    async def sent(self, times: int = 1) -> None:
        async def seen() -> bool:
            return len(self.shard.received) >= times

        await eventually_async(seen)

    async def silent(self) -> None:
        async def seen() -> bool:
            return self.places.silences > 0

        await eventually_async(seen)


@pytest.fixture
async def scene(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Scene]:
    """However long the machine stands, nothing goes again for want of an answer."""
    monkeypatch.setattr(link_module, "REPLY_S_MIN", 60.0)
    scene = Scene()
    yield scene
    scene.link.stop()
    scene.shard.end()


@pytest.fixture
def hurry(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is not answered goes again soon."""
    monkeypatch.setattr(link_module, "REPLY_S_MIN", 0.05)


@pytest.fixture
def over(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Lets the time of every command be over, for the link."""
    late_s = 0.0

    def be_over() -> None:
        nonlocal late_s
        late_s = 3_600.0

    monkeypatch.setattr(link_module, "time", SimpleNamespace(monotonic=lambda: time.monotonic() + late_s))
    return be_over


def answers_at(scene: Scene, number: int, answer: Answer = TAKEN) -> Callable[[Batch], Answer | None]:
    """Silence, and this answer to the sending of that number; to later ones too, if the answer came too late."""
    return lambda _: answer if len(scene.shard.received) >= number else None


async def test_what_came_while_a_batch_was_in_flight_is_the_next_batch(scene: Scene) -> None:
    futures = [scene.put() for _ in range(3)]
    await asyncio.gather(*futures)
    assert [len(batch.commands) for batch in scene.shard.received] == [3]
    first = scene.put()
    await asyncio.sleep(0)
    await asyncio.gather(first, scene.put(), scene.put())
    assert [len(batch.commands) for batch in scene.shard.received] == [3, 1, 2]


async def test_a_batch_takes_no_longer_than_its_markets_may(scene: Scene) -> None:
    await asyncio.gather(*(scene.put(market=1 + number % 300) for number in range(600)))
    assert [len(batch.commands) for batch in scene.shard.received] == [256, 256, 88]
    assert [len({command.market_id for command in batch.commands}) for batch in scene.shard.received] == [256, 256, 88]


async def test_an_unanswered_batch_goes_again_with_the_same_key(scene: Scene, hurry: None) -> None:
    scene.shard.answer = answers_at(scene, 3)
    assert await scene.put() == TAKEN
    assert len({(batch.gateway, batch.batch_id) for batch in scene.shard.received}) == 1
    assert 3 <= len(scene.shard.received) <= scene.places.silences + 1, "never again without a silence"


async def test_each_wait_in_vain_is_longer_than_the_last(
    scene: Scene, hurry: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    now_s, waits = 0.0, list[float]()

    async def no_answer(_place: Moved, _batch: Batch, until_s: float) -> None:
        nonlocal now_s
        waits.append(round(until_s - now_s, 3))
        now_s = until_s

    monkeypatch.setattr(scene.link, "_exchange", no_answer)
    monkeypatch.setattr(link_module, "REPLY_S_MAX", 0.3)
    monkeypatch.setattr(link_module, "time", SimpleNamespace(monotonic=lambda: now_s))
    future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
    scene.link.put(Waiting(vote(1), future, 1.0))
    with pytest.raises(NotReached):
        await future
    assert waits == [0.05, 0.1, 0.2, 0.3, 0.3, 0.05]


async def test_a_connection_that_is_lost_is_made_anew_and_the_batch_goes_again(scene: Scene) -> None:
    def hang_up(_: Batch) -> None:
        scene.shard.answer = lambda _: TAKEN
        for line in list(scene.shard.channel._lines.values()):
            scene.shard.channel._drop(line)

    scene.shard.answer = hang_up
    assert await scene.put() == TAKEN
    assert [batch.batch_id for batch in scene.shard.received] == [1, 1]


async def test_a_batch_follows_its_slot_at_once_when_that_moves(scene: Scene) -> None:
    scene.shard.answer = lambda _: None
    future = scene.put()
    await scene.sent()
    successor = Shard()
    try:
        scene.places.at = Moved("slot", successor.door, {0: 2})
        scene.link.look()
        assert await future == TAKEN
        (again,) = successor.received
        assert (again.batch_id, again.epochs) == (scene.shard.received[0].batch_id, {0: 2})
    finally:
        successor.end()


async def test_where_nobody_listens_nothing_was_sent(scene: Scene, over: Callable[[], None]) -> None:
    scene.shard.end()
    future = scene.put()
    await scene.silent()
    over()
    with pytest.raises(NotReached):
        await future


async def test_who_has_another_secret_is_not_heard(scene: Scene, over: Callable[[], None]) -> None:
    stranger = Shard(seal(b"x" * 32))
    try:
        scene.places.at = Moved("slot", stranger.door, {0: 1})
        future = scene.put()
        await scene.silent()
        over()
        with pytest.raises(OutcomeUnknown):
            await future
        assert stranger.received == []
    finally:
        stranger.end()


async def test_a_wrong_owner_at_once_has_done_nothing(scene: Scene) -> None:
    scene.shard.answer = lambda _: WrongOwner()
    assert await scene.put() == WrongOwner(in_doubt=False)


async def test_a_wrong_owner_after_silence_says_nothing_about_who_was_silent(scene: Scene, hurry: None) -> None:
    scene.shard.answer = answers_at(scene, 2, WrongOwner())
    assert await scene.put() == WrongOwner(in_doubt=True)


async def test_one_command_more_than_the_bound_is_refused_at_once(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(link_module, "QUEUED_MAX", 2)
    futures = [scene.put() for _ in range(2)]
    with pytest.raises(Overloaded):
        scene.put()
    assert await asyncio.gather(*futures) == [TAKEN, TAKEN]


async def test_after_a_bug_the_caller_hears_of_doubt_and_the_next_command_goes(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(*_: Any) -> None:
        raise ZeroDivisionError

    with monkeypatch.context() as patch:
        patch.setattr(scene.link, "_exchange", broken)
        with pytest.raises(OutcomeUnknown):
            await scene.put()
    assert await scene.put() == TAKEN


async def test_what_is_queued_at_the_end_is_answered(scene: Scene) -> None:
    scene.shard.answer = lambda _: None
    in_flight = scene.put()
    await scene.sent()
    queued = [scene.put() for _ in range(3)]
    scene.link.stop()
    with pytest.raises(OutcomeUnknown):
        await in_flight
    for future in queued:
        with pytest.raises(NotReached):
            await future
    with pytest.raises(NotReached):
        scene.put()


async def test_after_large_batches_a_command_waits_for_company(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(link_module, "COMPANY_S", 300.0)
    await asyncio.gather(*(scene.put() for _ in range(32)))
    first = scene.put()
    await asyncio.sleep(0)
    await asyncio.gather(first, *(scene.put() for _ in range(19)))
    assert [len(batch.commands) for batch in scene.shard.received] == [32, 20], "16 on average, and a quarter more"


async def test_no_command_waits_for_company_for_ever(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(link_module, "COMPANY_S", 0.001)
    await asyncio.gather(*(scene.put() for _ in range(32)))
    assert await scene.put() == TAKEN
    assert [len(batch.commands) for batch in scene.shard.received] == [32, 1]


async def test_where_there_are_few_or_more_than_enough_nobody_waits(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(link_module, "COMPANY_S", 300.0)
    await asyncio.gather(*(scene.put() for _ in range(15)))
    assert await scene.put() == TAKEN, "seven on average are few"
    await asyncio.gather(*(scene.put() for _ in range(500)))
    await asyncio.gather(*(scene.put() for _ in range(64)))
    assert [len(batch.commands) for batch in scene.shard.received] == [15, 1, 500, 64]
