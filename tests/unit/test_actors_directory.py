"""Many commands at once through the directory: each has an answer or a failure of its own, in order."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from actors import directory as directory_module
from actors.directory import Directory, NotReached, OutcomeUnknown, Overloaded
from actors.messages import Answer, Moved, WrongOwner
from domain.commands import CastVote
from domain.ids import VIRTUAL_SHARDS, MarketId, virtual_shard
from domain.outcomes import VoteTaken
from domain.refusals import AlreadyVoted
from domain.tally import Tally
from tests.support.channel import seal
from tests.support.eventually import eventually_async
from tests.support.markets import market_id, vote

DOOR = ("here", 1)
MARKETS = [market_id(n) for n in range(1, 9)]


def cast(number: int, market: MarketId) -> CastVote:
    return vote(number, market_id=market, vote_id=f"{number} {market}")


def taken_as(vote: CastVote) -> VoteTaken:
    return VoteTaken(vote.vote_id, Tally(), False, 1, b"leaf")


class Link:
    """Takes what is put and answers it as the test says; stands in for what talks to a shard."""

    def __init__(self, *_: Any, **__: Any) -> None:
        self.put_: list[Any] = []
        self.answer: Callable[[Any], Answer | Exception | None] = taken_as

    def put(self, waiting: Any) -> None:
        answer = self.answer(waiting.command)
        if isinstance(answer, Overloaded):
            raise answer
        self.put_.append(waiting.command)
        if isinstance(answer, Exception):
            waiting.future.set_exception(answer)
        elif answer is not None:
            waiting.future.set_result(answer)

    def look(self) -> None:
        pass

    def stop(self) -> None:
        pass


@pytest.fixture
async def directory(monkeypatch: pytest.MonkeyPatch) -> Directory:
    monkeypatch.setattr(directory_module, "Link", Link)
    monkeypatch.setattr(directory_module, "MOVED_S", 0.01)
    directory = Directory(0, seal())
    directory._loop = asyncio.get_running_loop()  # started, but for the thread that looks for actors
    return directory


def owns(directory: Directory, slot: str, vshards: Any, epoch: int = 1) -> Link:
    directory.moved(Moved(slot, DOOR, dict.fromkeys(vshards, epoch)))
    link: Any = directory._links[slot]
    assert isinstance(link, Link)
    return link


async def test_answers_come_in_the_order_of_the_commands_from_whatever_shard(directory: Directory) -> None:
    even, odd = (owns(directory, f"slot {n}", range(n, VIRTUAL_SHARDS, 2)) for n in range(2))
    commands = [cast(n, market) for n in range(3) for market in MARKETS]
    answers = await directory.submit_many(commands)
    assert [answer.vote_id for answer in answers if isinstance(answer, VoteTaken)] == [c.vote_id for c in commands]
    assert even.put_ and odd.put_
    assert all(virtual_shard(command.market_id) % 2 == 0 for command in even.put_)


async def test_every_command_fails_or_is_refused_by_itself(directory: Directory) -> None:
    link = owns(directory, "slot", range(VIRTUAL_SHARDS))
    taken, refused, unknown, full = (cast(n, MARKETS[n]) for n in range(4))
    ends: dict[str, Any] = {
        refused.vote_id: AlreadyVoted(refused.market_id),
        unknown.vote_id: OutcomeUnknown(5.0),
        full.vote_id: Overloaded(8192),
    }
    link.answer = lambda command: ends.get(command.vote_id, taken_as(command))
    answers = await directory.submit_many([full, taken, unknown, refused])
    assert answers[1:] == [taken_as(taken), ends[unknown.vote_id], ends[refused.vote_id]]
    assert answers[0] is ends[full.vote_id]


async def test_what_met_the_wrong_owner_goes_again_and_nothing_else_does(directory: Directory) -> None:
    link = owns(directory, "slot", range(VIRTUAL_SHARDS))
    moved = {MARKETS[0], MARKETS[3]}

    def first_wrong(command: Any) -> Answer:
        if command.market_id in moved:
            moved.discard(command.market_id)
            return WrongOwner()
        return taken_as(command)

    link.answer = first_wrong
    commands = [cast(1, market) for market in MARKETS]
    answers = await directory.submit_many(commands)
    assert [answer.vote_id for answer in answers if isinstance(answer, VoteTaken)] == [c.vote_id for c in commands]
    assert [command.market_id for command in link.put_[len(MARKETS) :]] == [MARKETS[0], MARKETS[3]]


async def test_a_shard_that_nobody_owns_holds_only_its_own_commands_up(
    directory: Directory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(directory_module, "COMMAND_S_MAX", 0.2)
    lost = virtual_shard(MARKETS[2])
    link = owns(directory, "slot", [vshard for vshard in range(VIRTUAL_SHARDS) if vshard != lost])
    answers = await directory.submit_many([cast(1, market) for market in MARKETS])
    assert [isinstance(answer, NotReached) for answer in answers] == [virtual_shard(m) == lost for m in MARKETS]
    assert len(link.put_) == sum(virtual_shard(market) != lost for market in MARKETS)


async def test_commands_wait_for_an_owner_that_is_still_to_come(directory: Directory) -> None:
    casting = asyncio.create_task(directory.submit_many([cast(1, MARKETS[0])]))
    owns(directory, "slot", range(VIRTUAL_SHARDS))
    (answer,) = await casting
    assert isinstance(answer, VoteTaken)


async def test_a_caller_that_goes_away_waits_for_nothing(directory: Directory) -> None:
    link = owns(directory, "slot", range(VIRTUAL_SHARDS))
    link.answer = lambda command: OutcomeUnknown(5.0) if command.market_id == MARKETS[1] else None
    casting = asyncio.create_task(directory.submit_many([cast(1, market) for market in MARKETS]))

    async def queued() -> bool:
        return len(link.put_) == len(MARKETS)

    await eventually_async(queued)
    casting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await casting


async def test_no_commands_have_no_answers(directory: Directory) -> None:
    assert await directory.submit_many([]) == []


async def test_a_place_that_is_told_again_is_no_move(directory: Directory) -> None:
    """Links take a new object for a move and send again; the supervisor repeats every place with each subscription."""
    first = Moved("told/0", DOOR, {0: 1})
    directory.moved(first)
    directory.moved(Moved("told/0", DOOR, {0: 1}))
    assert directory.place("told/0") is first
    directory.moved(Moved("told/0", ("elsewhere", 2), {0: 2}))
    moved = directory.place("told/0")
    assert moved is not None
    assert moved.door == ("elsewhere", 2)


@pytest.mark.parametrize("many", [False, True])
async def test_after_doubt_nobody_says_that_nothing_was_done(directory: Directory, many: bool) -> None:
    link = owns(directory, "a", range(VIRTUAL_SHARDS))

    def doubtful(_: Any) -> Answer:
        link.answer = lambda _: Overloaded(1)
        return WrongOwner(in_doubt=True)

    link.answer = doubtful
    with pytest.raises(OutcomeUnknown):
        await submitted(directory, cast(1, MARKETS[0]), many=many)


@pytest.mark.parametrize("many", [False, True])
async def test_a_wrong_owner_who_was_asked_first_leaves_no_doubt(directory: Directory, many: bool) -> None:
    link = owns(directory, "a", range(VIRTUAL_SHARDS))

    def denying(_: Any) -> Answer:
        link.answer = lambda _: Overloaded(1)
        return WrongOwner()

    link.answer = denying
    with pytest.raises(Overloaded):
        await submitted(directory, cast(1, MARKETS[0]), many=many)


async def test_who_waits_for_an_owner_at_the_end_is_told_that_nothing_was_sent(directory: Directory) -> None:
    waiting = asyncio.create_task(directory.submit(cast(1, MARKETS[0])))
    await asyncio.sleep(0)
    directory.stop()
    with pytest.raises(NotReached):
        await waiting


async def submitted(directory: Directory, command: CastVote, *, many: bool) -> Answer:
    if not many:
        return await directory.submit(command)
    (answer,) = await directory.submit_many([command])
    if isinstance(answer, Exception):
        raise answer
    return answer
