"""Somebody writes a market or a vote by SQL (decisions F5): its actor takes it over, and the world hears of it once."""

from __future__ import annotations

import pytest

from domain.commands import AdoptMarket
from domain.feed import market_channel, votes_channel
from domain.lifecycle import Lifecycle
from domain.outcomes import VoteTaken
from domain.refusals import WrongState
from domain.tally import Tally
from tests.support.eventually import eventually_async
from tests.support.markets import market_id, observed
from tests.support.shard import OneShard
from tests.support.storage import Ground, cast

MARKET = market_id()


@pytest.fixture
async def shard(ground: Ground) -> OneShard:
    shard = OneShard(ground)
    await shard.start()
    await shard.send(AdoptMarket(MARKET, observed()))
    return shard


async def reloaded(shard: OneShard) -> None:
    """Wait for the announcement, which comes with whatever the session reads next."""

    async def taken() -> bool:
        await shard.core._journal.ping()
        return await shard.core.take_outside() > 0

    await eventually_async(taken)


async def told(ground: Ground, channel: str) -> list[tuple[int, str]]:
    return [(seq, kind) for at, seq, kind, _ in await ground.outbox() if at == channel]


async def test_what_an_actor_writes_is_no_news_to_it(shard: OneShard) -> None:
    await shard.send(cast(1), cast(2))
    await shard.core._journal.ping()

    assert await shard.core.take_outside() == 0


async def test_an_actor_takes_over_the_state_that_was_written_and_says_so_once(shard: OneShard, ground: Ground) -> None:
    await shard.send(cast(1))
    before = await told(ground, market_channel(MARKET))

    await ground.rewrite(MARKET, Lifecycle.APPROVED, likes=1)
    await reloaded(shard)

    (answer,) = await shard.send(cast(2))
    assert isinstance(answer, WrongState)
    assert (await told(ground, market_channel(MARKET)))[len(before) :] == [(len(before) + 1, "STATE_CHANGED")]
    assert await shard.core.take_outside() == 0
    assert await ground.alerts() == [f"changed_outside:{MARKET}"]


async def test_a_tally_that_was_written_is_told_on_both_channels_and_counted_on_from(
    shard: OneShard, ground: Ground
) -> None:
    await shard.send(cast(1))

    await ground.rewrite(MARKET, Lifecycle.PROPOSED, likes=5)
    await reloaded(shard)
    (answer,) = await shard.send(cast(2))

    assert isinstance(answer, VoteTaken)
    assert answer.tally == Tally(6, 0, 6, 0)
    for channel in (market_channel(MARKET), votes_channel(MARKET)):
        assert await told(ground, channel) == [(1, "VOTE_UPDATE"), (2, "VOTE_UPDATE"), (3, "VOTE_UPDATE")]


async def test_votes_that_were_taken_away_are_counted_again(shard: OneShard, ground: Ground) -> None:
    first, second = cast(1), cast(2)
    await shard.send(first, second)

    await ground.strike(first.vote_id)
    await reloaded(shard)

    market = await shard.market()
    assert market.proposal == Tally(1, 0, 1, 0)
    assert market.proposal_log.size == 2


async def test_of_a_market_that_nobody_had_awake_everything_is_told(shard: OneShard, ground: Ground) -> None:
    await shard.send(cast(1))
    shard.core.residents.household.evict(MARKET)

    await ground.rewrite(MARKET, Lifecycle.APPROVED, likes=1)
    await reloaded(shard)

    kinds = [kind for _, kind in await told(ground, market_channel(MARKET))]
    assert kinds == ["VOTE_UPDATE", "VOTE_UPDATE", "VOTE_UPDATE", "STATE_CHANGED"]
