"""A transition that is asked for twice under one request_id: planned once, whatever has become of it."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from domain.commands import MoveMarket
from domain.intents import Action
from domain.lifecycle import Lifecycle
from domain.outcomes import Done
from domain.refusals import AlreadyInState, RequestIdReused, TransitionNotDue
from tests.support.markets import market_id, observed
from tests.support.shard import OneShard
from tests.support.storage import Ground, MemoryGround

ASKED, OTHER = "11111111-1111-5111-8111-111111111111", "22222222-2222-5222-8222-222222222222"


@pytest.fixture
async def shard() -> AsyncIterator[OneShard]:
    ground: Ground = MemoryGround()
    shard = OneShard(ground)
    await shard.start()
    await shard.show(observed(state=Lifecycle.APPROVED))
    yield shard
    await ground.end_journals()


def ask(action: Action, intent_id: str = ASKED) -> MoveMarket:
    return MoveMarket(market_id(), intent_id, action, "request")


async def open_actions(shard: OneShard) -> list[Action]:
    return [row.intent.action for row in await shard.ground.store.open_transactions(10)]


async def test_a_repeat_plans_nothing_while_the_first_is_under_way(shard: OneShard) -> None:
    assert await shard.send(ask(Action.ACTIVATE), ask(Action.ACTIVATE)) == (Done(2), Done(2))
    assert await shard.send(ask(Action.ACTIVATE)) == (AlreadyInState(market_id()),)
    assert await open_actions(shard) == [Action.ACTIVATE]


async def test_a_repeat_after_the_end_plans_nothing_also_in_the_next_process(shard: OneShard) -> None:
    # given a request whose attempt has failed and was taken in
    await shard.send(ask(Action.ACTIVATE))
    await shard.ground.store.mark_failed(ASKED, "Unauthorized", None)
    assert await shard.core.take_settlements() == 1
    # when it comes again, to this process and to its successor
    for _ in range(2):
        assert await shard.send(ask(Action.ACTIVATE)) == (AlreadyInState(market_id()),)
        await shard.start()
    # then nothing is planned, while another request is a new try
    assert await open_actions(shard) == []
    assert isinstance((await shard.send(ask(Action.ACTIVATE, OTHER)))[0], Done)
    assert await open_actions(shard) == [Action.ACTIVATE]


async def test_the_same_request_id_for_another_transition_is_refused(shard: OneShard) -> None:
    await shard.send(ask(Action.ACTIVATE))
    assert await shard.send(ask(Action.CANCEL)) == (RequestIdReused(market_id(), "request"),)


async def test_of_two_requests_in_one_batch_one_is_planned_and_the_other_refused(shard: OneShard) -> None:
    first, second = await shard.send(ask(Action.ACTIVATE), ask(Action.CANCEL, OTHER))
    assert isinstance(first, Done)
    assert isinstance(second, TransitionNotDue)
    assert await open_actions(shard) == [Action.ACTIVATE]
