"""The log of votes as it is read back, on real PostgreSQL."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from typing import Any

import pytest

from domain.journal import AggregationNote, Ballot, ChainBallot
from domain.merkle import Frontier
from domain.tally import Tally, VoteType
from domain.votelog import Aggregation, Fate, LoggedVote, leaf_of
from storage.queries import sql
from storage.session import SHARED_SETTINGS
from storage.vote_log import FIRST, LATEST, Position, VoteLog
from tests.support.markets import market, market_id, wallet
from tests.support.storage import (
    LAST_ID,
    PostgresGround,
    adopted,
    ballot,
    chain_ballot,
    counted,
    entry,
    new_id,
    own,
    planned,
)

MANY, FEWER = 100_000, 10_000
BUFFERS_MAX = 500
"""8 kB pages for a page of 100 entries behind 50,000 others; a scan of the table reads 4,000."""


@pytest.fixture
def log(real_ground: PostgresGround) -> VoteLog:
    return VoteLog(real_ground.database)


async def written(ground: PostgresGround, *ballots: Ballot | ChainBallot) -> None:
    """Votes as shards store them, each version in a commit of its own."""
    journal = await ground.journal()
    epochs = await own(journal)
    for version in sorted({each.market_version for each in ballots}):
        async with journal.transaction(epochs) as transaction:
            now = [each for each in ballots if each.market_version == version]
            await transaction.insert_ballots([each for each in now if isinstance(each, Ballot)])
            await transaction.merge([each for each in now if isinstance(each, ChainBallot)])
    await ground.end_journals()


async def pages(log: VoteLog, size: int, as_of: int = LATEST, kind: VoteType = VoteType.PROPOSAL) -> list[LoggedVote]:
    found: list[LoggedVote] = []
    after: Position | None = None
    while page := await log.entries(market_id(), kind, after, size, as_of):
        assert len(page) <= size
        found += page
        after = page[-1].entry.place
    return found


async def test_an_entry_comes_back_to_the_byte(real_ground: PostgresGround, log: VoteLog) -> None:
    full = ballot(1, 2, False, vote_type=VoteType.DISPUTE, weight=2**64 - 1, weight_slot=9, wallet_signature="5igN")
    cast = replace(full, accepted_at_ms=1_762_516_800_999)
    seen = chain_ballot(2, 2, vote_type=VoteType.DISPUTE, weight=0, transaction_signature="TX")
    await written(real_ground, cast, seen)
    found = [each.entry for each in await log.entries(market_id(), VoteType.DISPUTE)]
    assert found == sorted((entry(cast), entry(seen)), key=lambda each: each.place)


async def test_every_millisecond_survives_the_database(real_ground: PostgresGround, log: VoteLog) -> None:
    times = [1_762_516_800_000 + 37 * n for n in range(1000)] + [0, 1, 999, 4_102_444_799_999]
    votes = [replace(ballot(n, 2), accepted_at_ms=at_ms) for n, at_ms in enumerate(times)]
    await written(real_ground, *votes)
    found = {
        each.entry.vote_id: each.entry.accepted_at_ms for each in await log.entries(market_id(), VoteType.PROPOSAL)
    }
    assert found == {each.vote.vote_id: each.accepted_at_ms for each in votes}


async def test_pages_of_any_size_give_the_log_in_its_order_with_what_was_superseded(
    real_ground: PostgresGround, log: VoteLog
) -> None:
    votes: list[Ballot | ChainBallot] = [ballot(n, 2 + n // 5) for n in range(20)]
    votes += [chain_ballot(n, 7 + n // 6, False) for n in range(0, 24, 3)]
    votes += [ballot(n, 2, vote_type=VoteType.DISPUTE) for n in range(3)]
    await written(real_ground, *votes)
    mine = [entry(each) for each in votes if each.vote.vote_type is VoteType.PROPOSAL]
    for size in (1, 3, 4, 100):
        found = await pages(log, size)
        assert [each.entry for each in found] == sorted(mine, key=lambda each: each.place)
    gone = [each for each in found if each.fate is Fate.SUPERSEDED]
    assert [each.entry.source for each in gone] == ["api"] * 7
    by = {each.entry.vote_id: each.entry for each in found}
    assert all(by[each.superseded_by or ""].wallet == each.entry.wallet for each in gone)


async def test_a_log_can_be_read_as_an_older_version_had_it(real_ground: PostgresGround, log: VoteLog) -> None:
    await written(real_ground, ballot(1, 2), ballot(2, 3), chain_ballot(1, 4, False), chain_ballot(3, 5))
    fates = {as_of: [each.fate for each in await pages(log, 2, as_of)] for as_of in (1, 2, 3, 4, 5)}
    assert fates == {
        1: [],
        2: [Fate.COUNTED],
        3: [Fate.COUNTED] * 2,
        4: [Fate.SUPERSEDED, Fate.COUNTED, Fate.COUNTED],
        5: [Fate.SUPERSEDED, Fate.COUNTED, Fate.COUNTED, Fate.COUNTED],
    }


async def test_late_votes_are_read_apart_by_type(real_ground: PostgresGround, log: VoteLog) -> None:
    late = [chain_ballot(n, 3 + n // 2, is_late=True, vote_type=VoteType(kind)) for n in range(6) for kind in VoteType]
    await written(real_ground, ballot(1, 2), chain_ballot(9, 3), *late)
    for kind in VoteType:
        mine = sorted((entry(each) for each in late if each.vote.vote_type is kind), key=lambda each: each.place)
        first = list(await log.late(market_id(), kind, None, 4))
        rest = list(await log.late(market_id(), kind, first[-1].entry.place, 4))
        assert first + rest == [LoggedVote(each, Fate.LATE) for each in mine]
        assert await log.late(market_id(2), kind) == []


async def test_a_vote_is_found_by_its_id_and_by_its_wallet(real_ground: PostgresGround, log: VoteLog) -> None:
    first, seen, late = ballot(1, 2), chain_ballot(1, 3), chain_ballot(2, 3, is_late=True)
    await written(real_ground, first, seen, late)
    gone = LoggedVote(entry(first), Fate.SUPERSEDED, seen.vote.vote_id)
    assert await log.find(market_id(), first.vote.vote_id) == gone
    assert await log.find(market_id(), late.vote.vote_id) == LoggedVote(entry(late), Fate.LATE)
    assert await log.find(market_id(2), first.vote.vote_id) is None
    assert await log.find(market_id(), LAST_ID) is None
    assert await log.of_wallet(market_id(), VoteType.PROPOSAL, wallet(1)) == LoggedVote(entry(seen), Fate.COUNTED)
    assert await log.of_wallet(market_id(), VoteType.DISPUTE, wallet(1)) is None
    assert await log.of_wallet(market_id(), VoteType.PROPOSAL, wallet(2)) is None


async def test_aggregations_are_read_with_what_they_counted(real_ground: PostgresGround, log: VoteLog) -> None:
    journal = await real_ground.journal()
    epochs = await own(journal)
    change = planned(market(), 7, 3)
    note = replace(change.aggregations[0], votes_size=10, votes_root="ab" * 32)
    place = (new_id(), market_id(), VoteType.PROPOSAL)
    skipped = AggregationNote(*place, "skipped", Tally(8, 3, 8, 3), None, 7000, False, "unchanged")
    async with journal.transaction(epochs) as transaction:
        await transaction.save([adopted(market())])
        await transaction.save([replace(change, aggregations=(note, skipped))])
    first, second = await log.aggregations(market_id())
    assert first == Aggregation(
        number=first.number,
        aggregation_id=note.aggregation_id,
        market_id=market_id(),
        vote_type=VoteType.PROPOSAL,
        votes_size=10,
        votes_root="ab" * 32,
        yes_votes=7,
        no_votes=3,
        submitted_yes=7,
        submitted_no=3,
        percentage_bps=7000,
        threshold_bps=7000,
        threshold_met=True,
        status="pending",
        reason="",
        transaction_signature=None,
        created_at=first.created_at,
    )
    assert (second.votes_size, second.votes_root, second.status, second.is_synthetic) == (None, None, "skipped", False)
    assert await log.aggregations(market_id(), first.number) == [second]
    assert await log.aggregations(market_id(2)) == []


async def test_the_newest_aggregation_that_counted_an_entry_is_found_or_the_one_of_an_id(
    real_ground: PostgresGround, log: VoteLog
) -> None:
    journal = await real_ground.journal()
    epochs = await own(journal)
    change = planned(market(), 7, 3)
    notes = [
        replace(
            change.aggregations[0],
            aggregation_id=new_id(),
            votes_size=size,
            votes_root="ab" * 32 if size else None,
        )
        for size in (10, 20, None)
    ]
    async with journal.transaction(epochs) as transaction:
        await transaction.save([adopted(market())])
        await transaction.save([replace(change, aggregations=tuple(notes))])
    first, second, unrooted = await log.aggregations(market_id())
    kind = VoteType.PROPOSAL
    assert [await log.covering(market_id(), kind, at) for at in (1, 10, 11, 20, 21)] == [second] * 4 + [None]
    assert await log.covering(market_id(), kind, 10, first.aggregation_id) == first
    assert await log.covering(market_id(), kind, 11, first.aggregation_id) is None
    assert await log.covering(market_id(), kind, 1, unrooted.aggregation_id) is None
    assert await log.covering(market_id(), VoteType.DISPUTE, 1) is None
    assert await log.covering(market_id(2), kind, 1, first.aggregation_id) is None


async def test_votes_that_come_in_while_a_log_is_read_do_not_move_its_pages(
    real_ground: PostgresGround, log: VoteLog
) -> None:
    await written(real_ground, *(ballot(n, 2 + n // 3) for n in range(30)))
    before = await pages(log, 1000, 11)
    reading = asyncio.create_task(pages(log, 1, 11))
    await written(real_ground, *(chain_ballot(n, 12 + n) for n in range(30)))
    assert await reading == before


# --- a market with many votes ---------------------------------------------------------------------------------------


async def fill(ground: PostgresGround, count: int) -> None:
    """So many votes in one market and as many in others, and beside them a fifth that was superseded."""
    await ground.query(
        """INSERT INTO vote_records
            (id, market_id, user_pubkey, vote_type, vote, weight, source, market_version, created_at)
        SELECT gen_random_uuid(), CASE WHEN n % 2 = 0 THEN $1 ELSE 'other' || n % 97 END, 'wallet' || n, 'proposal',
            n % 3 = 0, 1, 'api', 1 + n / 200, to_timestamp(n)
        FROM generate_series(1, $2::int * 2) AS n""",
        market_id(),
        count,
    )
    await ground.query(
        """INSERT INTO uncounted_votes (id, market_id, user_pubkey, vote_type, vote, weight, source, market_version,
            created_at, reason, superseded_by, superseded_at_version)
        SELECT gen_random_uuid(), market_id, user_pubkey, vote_type, NOT vote, 1, 'api', market_version, created_at,
            'superseded', id, market_version + 1
        FROM vote_records WHERE market_id = $1 AND right(user_pubkey, 1) = '4'""",
        market_id(),
    )
    await ground.query("ANALYZE vote_records, uncounted_votes")


async def plan_of(ground: PostgresGround, name: str, *arguments: Any) -> dict[str, Any]:
    await ground.query("SELECT set_config('plan_cache_mode', $1, false)", SHARED_SETTINGS["plan_cache_mode"])
    ((text,),) = await ground.query(f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {sql(name)}", *arguments)
    plan: dict[str, Any] = json.loads(text)[0]["Plan"]
    return plan


def nodes(plan: dict[str, Any]) -> list[dict[str, Any]]:
    return [plan, *(each for child in plan.get("Plans", ()) for each in nodes(child))]


def buffers(plan: dict[str, Any]) -> int:
    return int(plan["Shared Hit Blocks"]) + int(plan["Shared Read Blocks"])


async def test_a_page_of_a_long_log_reads_little_more_than_itself(real_ground: PostgresGround, log: VoteLog) -> None:
    await fill(real_ground, MANY)
    for after in (FIRST, (500, FIRST[1]), (999, FIRST[1])):
        plan = await plan_of(real_ground, "log_entries", market_id(), "proposal", *after, LATEST, 100)
        scans = {each["Index Name"] for each in nodes(plan) if "Index Name" in each}
        assert scans == {"vote_records_version", "uncounted_votes_version"}
        assert not any(each["Node Type"] == "Seq Scan" for each in nodes(plan))
        assert buffers(plan) < BUFFERS_MAX, plan


async def test_a_repeat_in_a_long_log_is_placed_by_reading_what_came_after(real_ground: PostgresGround) -> None:
    await fill(real_ground, FEWER)
    votes = [each.entry for each in await pages(VoteLog(real_ground.database), 5000)]
    log = Frontier().plus_all(leaf_of(each) for each in votes)
    journal = await real_ground.journal()
    epochs = await own(journal)
    async with journal.transaction(epochs) as transaction:
        await transaction.save([adopted(replace(market(), version=1002, proposal_log=log))])
        places = (1, 6000, len(votes))
        standings = await transaction.standings([votes[place - 1] for place in places])
    assert [standing.sequence for standing in standings] == list(places)
    newest = votes[-1]
    asked = (market_id(), "proposal", str(newest.market_version), newest.vote_id)
    assert buffers(await plan_of(real_ground, "standings", *asked)) < BUFFERS_MAX


async def test_an_older_vote_stands_with_the_tally_of_its_version(real_ground: PostgresGround) -> None:
    """Counted then, superseded since; superseded in between; and what came after."""
    journal = await real_ground.journal()
    epochs = await own(journal)
    state = market()
    first, second = ballot(1, 2), ballot(2, 3, False)
    rounds: list[tuple[Ballot | ChainBallot, Tally]] = [
        (first, Tally(1, 0, 1, 0)),
        (second, Tally(1, 1, 1, 1)),
        (chain_ballot(1, 4, False), Tally(0, 2, 0, 2)),
        (chain_ballot(2, 5), Tally(1, 1, 1, 1)),
    ]
    async with journal.transaction(epochs) as transaction:
        await transaction.save([adopted(state)])
    for vote, tally in rounds:
        async with journal.transaction(epochs) as transaction:
            await (transaction.insert_ballots if isinstance(vote, Ballot) else transaction.merge)([vote])
            change = counted(state, yes=1)
            state = replace(change.market, proposal=tally)
            await transaction.save([replace(change, market=state)])
    async with journal.transaction(epochs) as transaction:
        standings = await transaction.standings([entry(vote) for vote, _ in rounds])
    assert [(each.tally, each.sequence) for each in standings] == [
        (tally, place) for place, (_, tally) in enumerate(rounds, start=1)
    ]
