"""Stored votes as they are listed, on real PostgreSQL."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from domain.journal import Ballot
from domain.tally import VoteType
from domain.votes import StoredVote
from storage.votes import VoteReads
from tests.support.markets import NOON_S, market_id, wallet
from tests.support.storage import PostgresGround, ballot, own

U64_MAX = 2**64 - 1


@pytest.fixture
def reads(real_ground: PostgresGround) -> VoteReads:
    return VoteReads(real_ground.database)


async def stored(ground: PostgresGround, *ballots: Ballot) -> list[Ballot]:
    """Votes as shards store them, each version in a commit of its own."""
    journal = await ground.journal()
    epochs = await own(journal)
    for version in sorted({each.market_version for each in ballots}):
        async with journal.transaction(epochs) as transaction:
            await transaction.insert_ballots([each for each in ballots if each.market_version == version])
    await ground.end_journals()
    return sorted(ballots, key=lambda each: (each.market_version, each.vote.vote_id), reverse=True)


async def pages(reads: VoteReads, vote_type: VoteType | None, size: int) -> list[list[StoredVote]]:
    found: list[list[StoredVote]] = []
    after = None
    while page := list(await reads.list(market_id(), vote_type, after, size)):
        found.append(page)
        after = (page[-1].market_version, page[-1].vote_id)
    return found


async def test_a_vote_is_listed_with_everything_that_was_stored(real_ground: PostgresGround, reads: VoteReads) -> None:
    cast = ballot(1, 7, False, vote_type=VoteType.DISPUTE, weight=U64_MAX, weight_slot=2**40)
    await stored(real_ground, cast)
    (vote,) = await reads.list(market_id(), None, None, 10)
    assert vote == StoredVote(
        vote_id=cast.vote.vote_id,
        market_id=market_id(),
        wallet=wallet(1),
        vote_type=VoteType.DISPUTE,
        choice=False,
        weight=U64_MAX,
        weight_slot=2**40,
        source="api",
        transaction_signature=None,
        market_version=7,
        created_at=datetime.fromtimestamp(NOON_S, UTC) + timedelta(milliseconds=1),
    )


async def test_pages_go_on_where_the_last_one_ended_newest_first(real_ground: PostgresGround, reads: VoteReads) -> None:
    """Versions of several votes, both types: pages end within a version and within a type."""
    kinds = (VoteType.PROPOSAL, VoteType.DISPUTE)
    cast = [ballot(n, 1 + n // 4, vote_type=kinds[n % 3 == 0]) for n in range(1, 22)]
    cast += [ballot(n, 9, market_id=market_id(2)) for n in range(30, 33)]
    newest_first = [
        each.vote.vote_id for each in await stored(real_ground, *cast) if each.vote.market_id == market_id()
    ]
    found = await pages(reads, None, 5)
    assert [len(page) for page in found] == [5, 5, 5, 5, 1]
    assert [vote.vote_id for page in found for vote in page] == newest_first


@pytest.mark.parametrize("vote_type", list(VoteType))
async def test_votes_of_one_type_are_listed_alone(
    real_ground: PostgresGround, reads: VoteReads, vote_type: VoteType
) -> None:
    cast = [ballot(n, n, vote_type=kind) for n in range(1, 6) for kind in VoteType]
    expected = [each.vote.vote_id for each in await stored(real_ground, *cast) if each.vote.vote_type is vote_type]
    assert [vote.vote_id for page in await pages(reads, vote_type, 2) for vote in page] == expected


async def test_new_votes_do_not_move_the_pages_behind_them(real_ground: PostgresGround, reads: VoteReads) -> None:
    before = [each.vote.vote_id for each in await stored(real_ground, *(ballot(n, n) for n in range(1, 7)))]
    first = await reads.list(market_id(), None, None, 3)
    await stored(real_ground, *(ballot(n, n) for n in range(7, 12)))
    rest = await reads.list(market_id(), None, (first[-1].market_version, first[-1].vote_id), 10)
    assert [vote.vote_id for vote in (*first, *rest)] == before


async def test_a_market_without_votes_has_none(reads: VoteReads) -> None:
    assert list(await reads.list(market_id(5), None, None, 10)) == []
