"""Votes that are expected to be new: one message asks and counts, one statement writes, or else it goes in steps."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest

from actors import market_actor
from actors.messages import Failed
from actors.ports import Ballot, Change
from domain.counting import count
from domain.lifecycle import Lifecycle
from domain.market import Market
from domain.outcomes import VoteTaken
from domain.refusals import AlreadyVoted, WrongState
from domain.tally import Tally
from tests.support.markets import market_id, observed
from tests.support.shard import OneShard
from tests.support.storage import MemoryGround, cast

SECOND: dict[str, Any] = {"market_id": market_id(2)}


class Watched(OneShard):
    """Notes of each batch of votes whether it went in at once, and hears what actors are asked."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        super().__init__(MemoryGround())
        self.at_once: list[bool] = []
        self.asked: list[str] = []
        self._monkeypatch = monkeypatch

    async def start(self) -> None:
        await super().start()
        take, ask = self.core._journal.take, self.core.residents.round

        async def noted(epochs: Any, ballots: Sequence[Ballot], changes: Sequence[Change], *, announces: bool) -> bool:
            self.at_once.append(await take(epochs, ballots, changes, announces=announces))
            return self.at_once[-1]

        def heard(messages: Any) -> Any:
            self.asked += [type(message).__name__ for message in messages.values()]
            return ask(messages)

        self._monkeypatch.setattr(self.core._journal, "take", noted)
        self._monkeypatch.setattr(self.core.residents, "round", heard)

    async def tallies(self) -> tuple[Tally, Tally]:
        """Of both markets: as stored, each held against its log."""
        for number in (1, 2):
            await self.log(number)
        return (await self.market(1)).proposal, (await self.market(2)).proposal


@pytest.fixture
async def shard(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Watched]:
    """A shard over two markets in PROPOSED."""
    shard = Watched(monkeypatch)
    await shard.start()
    await shard.show(observed())
    await shard.show(observed(**SECOND))
    shard.asked.clear()
    yield shard
    await shard.ground.close()


async def test_new_votes_cost_each_market_one_question(shard: Watched) -> None:
    answers = await shard.send(cast(1), cast(2, False), cast(3, **SECOND))
    assert [type(answer) for answer in answers] == [VoteTaken] * 3
    assert (shard.asked, shard.at_once) == (["Take", "Take"], [True])
    assert await shard.tallies() == (Tally(1, 1, 1, 1), Tally(1, 0, 1, 0))


async def test_a_refused_vote_is_looked_up_while_the_others_of_its_batch_are_counted(shard: Watched) -> None:
    await shard.show(observed(slot=50, state=Lifecycle.APPROVED, **SECOND))
    shard.asked.clear()
    taken, refused = await shard.send(cast(1), cast(2, **SECOND))
    assert isinstance(taken, VoteTaken)
    assert isinstance(refused, WrongState)
    assert (shard.asked, shard.at_once) == (["Take", "Take", "Count"], [])
    await shard.send(cast(3))
    assert shard.at_once == [True], "a refusal says nothing about votes that are not new"
    assert await shard.tallies() == (Tally(2, 0, 2, 0), Tally())


async def test_drafts_that_were_not_taken_are_forgotten(shard: Watched) -> None:
    old, other = cast(1), cast(2)
    await shard.send(old)
    again, second, new = await shard.send(old, cast(1, False), cast(3, **SECOND))
    assert isinstance(again, VoteTaken)
    assert again.replayed
    assert second == AlreadyVoted(market_id())
    assert isinstance(new, VoteTaken)
    assert shard.at_once == [True, False]
    assert await shard.tallies() == (Tally(1, 0, 1, 0), Tally(1, 0, 1, 0))
    await shard.send(other)
    assert await shard.tallies() == (Tally(2, 0, 2, 0), Tally(1, 0, 1, 0)), "what was drafted in vain counts nowhere"


async def test_a_batch_that_is_not_expected_to_be_new_is_asked_and_counted_in_two_steps(shard: Watched) -> None:
    old = cast(1)
    await shard.send(old)
    await shard.send(old)
    shard.asked.clear()
    (answer,) = await shard.send(cast(2))
    assert isinstance(answer, VoteTaken)
    assert (shard.asked, shard.at_once) == (["Admit", "Count"], [True, False])


async def test_the_same_vote_twice_in_a_batch_counts_once(shard: Watched) -> None:
    vote = cast(1)
    first, again = await shard.send(vote, vote)
    assert isinstance(first, VoteTaken)
    assert isinstance(again, VoteTaken)
    assert (first.replayed, again.replayed, shard.at_once) == (False, True, [False])
    assert await shard.tallies() == (Tally(1, 0, 1, 0), Tally())


async def test_a_market_that_cannot_count_its_votes_writes_none_of_them_and_stops_no_other(
    shard: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    def count_with_a_bug(market: Market, *taken: Any) -> Any:
        if market.market_id == market_id(2):
            raise ZeroDivisionError("a bug of ours")
        return count(market, *taken)

    monkeypatch.setattr(market_actor, "count", count_with_a_bug)
    lost = cast(2, **SECOND)
    good, bad = await shard.send(cast(1), lost)
    assert isinstance(good, VoteTaken)
    assert isinstance(bad, Failed)
    assert await shard.tallies() == (Tally(1, 0, 1, 0), Tally())
    monkeypatch.setattr(market_actor, "count", count)
    (healed,) = await shard.send(lost)
    assert isinstance(healed, VoteTaken), "the actor was rebuilt from the journal"
    assert not healed.replayed
