"""Votes that the chain shows, through a shard's core over both databases (T22, decisions P2 and P4)."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest

from domain.commands import CastVote, RecordChainVote
from domain.lifecycle import Lifecycle
from domain.outcomes import Done, VoteTaken
from domain.refusals import AlreadyVoted, MarketNotFound, RequestIdReused, VotingClosing, WrongState
from domain.tally import Tally, VoteType
from domain.votelog import Fate, leaf_of
from tests.support.markets import NOON_S, market_id, observed
from tests.support.shard import OneShard
from tests.support.storage import Ground, cast, chain_vote

CHAIN_NAMES = uuid.UUID("6ba7b812-9dad-11d1-80b4-00c04fd430c8")
DISPUTE: dict[str, Any] = {"vote_type": VoteType.DISPUTE}


@pytest.fixture
async def shard(ground: Ground) -> AsyncIterator[OneShard]:
    """A shard over a market in PROPOSED."""
    shard = OneShard(ground)
    await shard.start()
    await shard.show(observed())
    yield shard


async def disputed(shard: OneShard) -> None:
    await shard.show(observed(slot=50, state=Lifecycle.DISPUTED, dispute_initiated_at_s=NOON_S))


async def taken(shard: OneShard, vote: CastVote) -> VoteTaken:
    (answer,) = await shard.send(vote)
    assert isinstance(answer, VoteTaken), answer
    return answer


async def done(shard: OneShard, *votes: RecordChainVote) -> None:
    answers = await shard.send(*votes)
    version = (await shard.market()).version
    assert answers == (Done(version),) * len(votes)


async def test_a_chain_vote_of_a_new_wallet_is_counted_logged_and_told(shard: OneShard) -> None:
    seen = chain_vote(1, False)
    await done(shard, seen)
    (entry,) = await shard.log()
    assert (entry.entry.vote_id, entry.entry.source, entry.entry.transaction_signature) == (
        seen.vote_id,
        "chain",
        "tx1",
    )
    assert (await shard.market()).proposal == Tally(0, 1, 0, 1)
    assert [(channel[:5], kind) for channel, _, kind, _ in await shard.ground.outbox()] == [
        ("marke", "VOTE_UPDATE"),
        ("votes", "VOTE_UPDATE"),
    ]


async def test_a_chain_vote_takes_the_place_of_the_wallets_vote_through_the_api(shard: OneShard) -> None:
    mine = cast(1, request_id=str(uuid.uuid4()))
    first = await taken(shard, mine)
    await taken(shard, cast(2))
    seen = chain_vote(1, False)
    await done(shard, seen)
    assert (await shard.market()).proposal == Tally(1, 1, 1, 1)
    entries = await shard.log()
    assert [(each.fate, each.superseded_by) for each in entries] == [
        (Fate.SUPERSEDED, seen.vote_id),
        (Fate.COUNTED, None),
        (Fate.COUNTED, None),
    ]
    assert leaf_of(entries[first.sequence - 1].entry) == first.leaf_hash
    assert await shard.ground.votes() == 2


async def test_the_weights_of_a_dispute_move_exactly(shard: OneShard) -> None:
    await disputed(shard)
    heavy = 2**64 - 1
    await taken(shard, cast(1, weight=heavy, weight_slot=40, **DISPUTE))
    await taken(shard, cast(2, weight=7, weight_slot=40, **DISPUTE))
    await done(shard, chain_vote(1, False, weight=heavy - 5, weight_slot=60, **DISPUTE))
    assert (await shard.market()).dispute == Tally(7, heavy - 5, 1, 1)
    assert len(await shard.log(kind=VoteType.DISPUTE)) == 3


async def test_a_dispute_vote_on_chain_without_a_position_weighs_nothing_but_stands(shard: OneShard) -> None:
    await disputed(shard)
    await done(shard, chain_vote(1, weight=0, weight_slot=None, **DISPUTE))
    assert (await shard.market()).dispute == Tally(0, 0, 1, 0)
    assert await shard.send(cast(1, weight=9, **DISPUTE)) == (AlreadyVoted(market_id()),)
    assert len(await shard.log(kind=VoteType.DISPUTE)) == 1


async def test_a_vote_through_the_api_after_one_on_chain_is_a_second_one(shard: OneShard) -> None:
    await done(shard, chain_vote(1))
    assert await shard.send(cast(1, False), cast(1, False, request_id="r")) == (AlreadyVoted(market_id()),) * 2
    assert (await shard.market()).proposal == Tally(1, 0, 1, 0)


async def test_repeating_a_chain_vote_changes_nothing_also_across_a_kill(shard: OneShard) -> None:
    await taken(shard, cast(1))
    seen = chain_vote(1, False)
    await done(shard, seen, seen)
    before = await shard.market()
    await done(shard, seen)
    await shard.start()
    await done(shard, seen, seen)
    assert await shard.market() == before
    assert len(await shard.log()) == 2


async def test_the_same_vote_in_another_transaction_of_a_fork_counts_once(shard: OneShard) -> None:
    await done(shard, chain_vote(1))
    before = await shard.market()
    await done(shard, chain_vote(1, False, transaction_signature="other"), chain_vote(1))
    assert await shard.market() == before
    assert len(await shard.log()) == 1


async def test_in_one_batch_the_chain_wins_whatever_comes_first(shard: OneShard) -> None:
    answers = await shard.send(cast(1), chain_vote(1, False), chain_vote(2), cast(2, False))
    assert answers == (AlreadyVoted(market_id()), Done(2), Done(2), AlreadyVoted(market_id()))
    assert (await shard.market()).proposal == Tally(1, 1, 1, 1)


async def test_a_superseded_vote_is_answered_as_the_first_time(shard: OneShard) -> None:
    await taken(shard, cast(9))
    mine = cast(1, request_id=str(uuid.uuid4()))
    first = await taken(shard, mine)
    await done(shard, chain_vote(1, False))
    await taken(shard, cast(8))
    await shard.start()
    again = replace(mine, vote_id=str(uuid.uuid4()))
    assert await shard.send(mine, again) == (replace(first, replayed=True),) * 2
    plain = cast(3)
    first_plain = await taken(shard, plain)
    await done(shard, chain_vote(3, False))
    assert await shard.send(plain) == (replace(first_plain, replayed=True),)


async def test_the_request_id_of_a_superseded_vote_stays_taken(shard: OneShard) -> None:
    await shard.show(observed(market_id=market_id(2)))
    key = str(uuid.uuid4())
    await taken(shard, cast(1, request_id=key))
    await done(shard, chain_vote(1))
    others = (cast(1, False, request_id=key), cast(1, request_id=key, market_id=market_id(2)))
    assert await shard.send(*others) == (RequestIdReused(market_id(), key), RequestIdReused(market_id(2), key))
    assert await shard.log(2) == []


async def test_while_an_approval_is_under_way_a_chain_vote_waits_unless_it_is_known(shard: OneShard) -> None:
    known = chain_vote(20)
    await shard.send(*(cast(number, number <= 7) for number in range(1, 11)))
    await done(shard, known)
    shard.clock.s += 300
    assert await shard.core.fire_due() == 1
    assert await shard.send(chain_vote(21), known) == (VotingClosing(market_id()), Done((await shard.market()).version))
    assert len(await shard.log()) == 11


async def test_a_chain_vote_that_comes_too_late_is_kept_and_not_counted(shard: OneShard) -> None:
    mine = await taken(shard, cast(1))
    await shard.show(observed(slot=50, state=Lifecycle.APPROVED))
    before = await shard.market()
    seen = chain_vote(1, False)
    for _ in range(2):
        await done(shard, seen, chain_vote(2, transaction_signature="tx2", vote_id=str(uuid.uuid5(CHAIN_NAMES, "2"))))
        await shard.start()
    assert await shard.market() == before
    assert [each.entry.vote_id for each in await shard.log()] == [mine.vote_id]
    late = {each.entry.vote_id: each for each in await shard.late()}
    assert set(late) == {seen.vote_id, str(uuid.uuid5(CHAIN_NAMES, "2"))}
    assert late[seen.vote_id].fate is Fate.LATE
    assert late[seen.vote_id].entry.market_version == before.version


async def test_a_counted_chain_vote_seen_again_after_the_end_does_not_become_late(shard: OneShard) -> None:
    seen = chain_vote(1)
    await done(shard, seen)
    await shard.show(observed(slot=50, state=Lifecycle.APPROVED))
    await done(shard, seen)
    assert await shard.late() == []
    assert len(await shard.log()) == 1


async def test_a_late_vote_stays_late_when_a_second_dispute_opens(shard: OneShard) -> None:
    """DISPUTED goes back to RESOLVING when a dispute succeeds by aggregation, and may be disputed again (CI Q2, Q3)."""
    await disputed(shard)
    await shard.show(observed(slot=60, state=Lifecycle.RESOLVING, dispute_initiated_at_s=NOON_S))
    seen = chain_vote(1, weight=5, **DISPUTE)
    await done(shard, seen)
    await shard.show(observed(slot=70, state=Lifecycle.DISPUTED, dispute_initiated_at_s=NOON_S + 9))
    await done(shard, seen)
    assert (await shard.market()).dispute == Tally()
    assert len(await shard.late(kind=VoteType.DISPUTE)) == 1


@pytest.mark.parametrize("state", [Lifecycle.PROPOSED, Lifecycle.APPROVED, Lifecycle.ACTIVE, Lifecycle.RESOLVING])
async def test_a_dispute_vote_before_the_dispute_is_known_is_asked_for_again(shard: OneShard, state: Lifecycle) -> None:
    await shard.show(observed(slot=50, state=state))
    refusal = WrongState(market_id(), state, Lifecycle.DISPUTED)
    assert await shard.send(chain_vote(1, **DISPUTE)) == (refusal,)
    assert await shard.late(kind=VoteType.DISPUTE) == []


async def test_a_vote_of_a_market_that_nobody_knows_is_refused(shard: OneShard) -> None:
    assert await shard.send(chain_vote(1, market_id=market_id(5))) == (MarketNotFound(market_id(5)),)


async def test_chain_votes_do_not_use_up_a_wallets_attempts(shard: OneShard) -> None:
    await shard.show(observed(slot=50, state=Lifecycle.APPROVED))
    await shard.send(*(chain_vote(1, **DISPUTE) for _ in range(30)))
    (answer,) = await shard.send(cast(1))
    assert isinstance(answer, WrongState)
