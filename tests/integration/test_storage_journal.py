"""What a journal promises, held against PostgreSQL and against the in-memory twin."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from domain.deadlines import ClockName, Deadline
from domain.ids import virtual_shard
from domain.intents import Action, Expectation, Intent
from domain.journal import AlertNote, Ballot, Change, Fenced, RecordedVote, Standing
from domain.lifecycle import Lifecycle
from domain.market import Market
from domain.merkle import Frontier, leaf_hash
from domain.observed import ChainConfig
from domain.tally import Tally, VoteType
from storage.fencing import VersionMoved
from storage.outages import JournalLost, VirtualShardsHeld
from tests.support.eventually import eventually_async
from tests.support.markets import NOON_S, config, market, market_id, wallet
from tests.support.storage import (
    ALL_SHARDS,
    NOON_MS,
    Ground,
    adopted,
    at_version,
    ballot,
    cast,
    counted,
    entry,
    new_id,
    own,
    planned,
)

U64_MAX = 2**64 - 1


async def save(journal: Any, epochs: dict[int, int], *changes: Change) -> None:
    async with journal.transaction(epochs) as transaction:
        await transaction.save(changes)


async def take(journal: Any, epochs: dict[int, int], *ballots: Ballot) -> frozenset[str]:
    async with journal.transaction(epochs) as transaction:
        inserted: frozenset[str] = await transaction.insert_ballots(ballots)
        return inserted


async def stored(journal: Any, number: int = 1) -> Market:
    ((found, _),) = await journal.load([market_id(number)])
    assert isinstance(found, Market)
    return found


def a_dead_pid() -> int:
    """A process of this host that has been here and is gone."""
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    return child.pid


# --- markets --------------------------------------------------------------------------------------------------------


async def test_a_market_comes_back_as_it_was_saved(ground: Ground) -> None:
    journal = await ground.journal()
    epochs = await own(journal)
    saved = full_market()
    deadline = Deadline(NOON_S + 300, ClockName.CHAIN)
    assert saved.intent
    await save(journal, epochs, Change(saved, deadline, is_new=True, planned=(saved.intent,)))
    assert await journal.load([saved.market_id]) == [(saved, deadline)]


async def test_a_market_changes_in_every_field(ground: Ground) -> None:
    journal = await ground.journal()
    epochs = await own(journal)
    await save(journal, epochs, adopted(market()))
    changed = replace(full_market(), version=2)
    assert changed.intent
    deadline = Deadline(NOON_S + 7, ClockName.WALL)
    change = Change(changed, deadline, is_new=False, planned=(changed.intent,), before=market())
    await save(journal, epochs, change)
    assert await journal.load([changed.market_id]) == [(changed, deadline)]


async def test_a_batch_of_votes_leaves_the_rest_of_a_market_alone(ground: Ground) -> None:
    journal = await ground.journal()
    epochs = await own(journal)
    before = full_market()
    assert before.intent
    await save(journal, epochs, Change(before, None, is_new=True, planned=(before.intent,)))
    change = counted(before, yes=5, deadline=Deadline(NOON_S + 300, ClockName.CHAIN))
    await save(journal, epochs, change)
    assert await journal.load([before.market_id]) == [(change.market, change.deadline)]


async def test_a_change_without_its_predecessor_is_written_whole(ground: Ground) -> None:
    journal = await ground.journal()
    epochs = await own(journal)
    await save(journal, epochs, adopted(market()))
    change = Change(replace(market(), version=2, question="Will it?"), None, is_new=False)
    await save(journal, epochs, change)
    assert await stored(journal) == change.market


async def test_unknown_markets_are_left_out_of_a_load(ground: Ground) -> None:
    journal = await ground.journal()
    await save(journal, await own(journal), adopted(market()))
    assert [found.market_id for found, _ in await journal.load([market_id(1), market_id(2)])] == [market_id(1)]


async def test_deadlines_are_those_of_the_asked_virtual_shards_earliest_first(ground: Ground) -> None:
    journal = await ground.journal()
    epochs = await own(journal)
    changes = [
        adopted(market(market_id=market_id(n)), Deadline(NOON_S - n, ClockName.CHAIN) if n != 3 else None)
        for n in range(1, 8)
    ]
    await save(journal, epochs, *changes)
    wanted = [virtual_shard(market_id(n)) for n in (2, 3, 5)]
    expected = [
        (c.market.market_id, c.deadline) for c in changes if c.deadline and virtual_shard(c.market.market_id) in wanted
    ]
    assert await journal.deadlines(wanted) == sorted(expected, key=lambda pair: pair[1].at_s)


# --- fencing --------------------------------------------------------------------------------------------------------


async def test_an_old_epoch_can_no_longer_write(ground: Ground) -> None:
    first = await ground.journal()
    old = await own(first)
    await save(first, old, adopted(market()))
    await first.close()
    second = await ground.journal()
    await own(second)
    frozen = await ground.journal()
    with pytest.raises(Fenced):
        await take(frozen, old, ballot(1, 2))
    assert await ground.votes() == 0


async def test_only_the_virtual_shards_of_a_transaction_are_compared(ground: Ground) -> None:
    journal = await ground.journal()
    await own(journal)
    newer = await own(journal, shards=[5])
    async with journal.transaction(newer) as transaction:
        assert await transaction.recorded([]) == {}
    with pytest.raises(Fenced):
        await save(journal, {5: newer[5] - 1})


async def test_writing_a_market_that_was_not_fenced_for_is_a_bug(ground: Ground) -> None:
    journal = await ground.journal()
    epochs = await own(journal)
    del epochs[virtual_shard(market_id())]
    with pytest.raises(AssertionError, match="not fenced"):
        await take(journal, epochs, ballot(1, 2))
    with pytest.raises(AssertionError, match="not fenced"):
        await save(journal, epochs, adopted(market()))


@pytest.mark.parametrize("version", [1, 3])
async def test_a_version_that_does_not_follow_the_stored_one_is_refused(ground: Ground, version: int) -> None:
    journal = await ground.journal()
    epochs = await own(journal)
    await save(journal, epochs, adopted(market()))
    for before in (market(), None):
        with pytest.raises(VersionMoved, match=market_id()):
            await save(journal, epochs, Change(replace(market(), version=version), None, is_new=False, before=before))
    assert (await stored(journal)).version == 1


async def test_a_market_becomes_known_once(ground: Ground) -> None:
    journal = await ground.journal()
    epochs = await own(journal)
    await save(journal, epochs, adopted(market(question="first")))
    with pytest.raises(VersionMoved):
        await save(journal, epochs, adopted(market(question="second")))
    assert (await stored(journal)).question == "first"


async def test_a_change_of_a_market_that_nobody_knows_is_refused(ground: Ground) -> None:
    journal = await ground.journal()
    epochs = await own(journal)
    with pytest.raises(VersionMoved):
        await save(journal, epochs, counted(market(), yes=1))


async def test_one_stale_market_undoes_its_whole_batch(ground: Ground) -> None:
    journal = await ground.journal()
    epochs = await own(journal)
    fine, stale = market(), market(market_id=market_id(2))
    await save(journal, epochs, adopted(fine), adopted(stale))
    with pytest.raises(VersionMoved):
        await save(journal, epochs, counted(fine, yes=1), counted(replace(stale, version=7), yes=1))
    assert await stored(journal) == fine
    assert await ground.outbox() == []


# --- transactions ---------------------------------------------------------------------------------------------------


async def test_an_exception_in_a_transaction_leaves_nothing_behind(ground: Ground) -> None:
    journal = await ground.journal()
    epochs = await own(journal)
    await save(journal, epochs, adopted(market()))
    sent = planned(counted(market(), yes=1).market)
    with pytest.raises(ZeroDivisionError):
        async with journal.transaction(epochs) as transaction:
            await transaction.insert_ballots([ballot(1, 2)])
            await transaction.save([counted(market(), yes=1)])
            await transaction.save([replace(sent, alerts=(alert("a"),))])
            raise ZeroDivisionError
    assert await stored(journal) == market()
    assert (await ground.votes(), await ground.outbox(), await ground.aggregations(), await ground.alerts()) == (
        0,
        [],
        [],
        [],
    )
    assert await ground.store.open_transactions(10) == []


async def test_the_session_goes_on_after_an_undone_transaction(ground: Ground) -> None:
    journal = await ground.journal()
    epochs = await own(journal)
    with pytest.raises(ZeroDivisionError):
        async with journal.transaction(epochs):
            raise ZeroDivisionError
    await save(journal, epochs, adopted(market()))
    assert await stored(journal) == market()


async def test_a_transaction_is_invisible_to_others_until_it_commits(ground: Ground) -> None:
    journal, other = await ground.journal(), await ground.journal()
    epochs = await own(journal)
    async with journal.transaction(epochs) as transaction:
        await transaction.save([adopted(market())])
        assert await other.load([market_id()]) == []
    assert await other.load([market_id()]) == [(market(), None)]


async def test_a_transaction_sees_its_own_writes(ground: Ground) -> None:
    journal = await ground.journal()
    epochs = await own(journal)
    mine = cast(1)
    async with journal.transaction(epochs) as transaction:
        await transaction.save([adopted(market())])
        await transaction.insert_ballots([Ballot(mine, 2, NOON_MS)])
        assert (await transaction.recorded([mine]))[mine.vote_id].entry.vote_id == mine.vote_id


async def test_asking_the_journal_inside_ones_own_transaction_is_a_bug(ground: Ground) -> None:
    journal = await ground.journal()
    epochs = await own(journal)
    with pytest.raises(RuntimeError, match="this task"):
        async with journal.transaction(epochs):
            await journal.ping()


async def test_other_tasks_wait_for_the_end_of_a_transaction(ground: Ground) -> None:
    journal = await ground.journal()
    epochs = await own(journal)
    async with journal.transaction(epochs) as transaction:
        loading = asyncio.create_task(journal.load([market_id()]))
        await transaction.save([adopted(market())])
    assert await loading == [(market(), None)]


# --- votes ----------------------------------------------------------------------------------------------------------


async def test_fifty_concurrent_votes_of_one_wallet_make_one_row(ground: Ground) -> None:
    journal = await ground.journal()
    epochs = await own(journal)
    await save(journal, epochs, adopted(market()))
    taken = await asyncio.gather(*(take(journal, epochs, ballot(1, 2)) for _ in range(50)))
    assert sum(len(inserted) for inserted in taken) == 1
    assert await ground.votes() == 1


async def test_fifty_votes_of_one_wallet_in_one_batch_make_one_row(ground: Ground) -> None:
    journal = await ground.journal()
    epochs = await own(journal)
    assert len(await take(journal, epochs, *(ballot(1, 2, n % 2 == 0) for n in range(50)))) == 1


async def test_of_two_equal_ballots_the_first_is_taken(ground: Ground) -> None:
    journal = await ground.journal()
    epochs = await own(journal)
    first, second = ballot(1, 2, choice=False), ballot(1, 2, choice=True)
    assert await take(journal, epochs, first, second) == {first.vote.vote_id}


async def test_a_wallet_votes_once_on_each_market_and_type(ground: Ground) -> None:
    journal = await ground.journal()
    epochs = await own(journal)
    ballots = [
        ballot(1, 2),
        ballot(1, 2, vote_type=VoteType.DISPUTE),
        ballot(1, 2, market_id=market_id(2)),
        ballot(2, 2),
    ]
    assert await take(journal, epochs, *ballots) == {b.vote.vote_id for b in ballots}


async def test_the_same_vote_id_is_taken_once(ground: Ground) -> None:
    journal = await ground.journal()
    epochs = await own(journal)
    repeated = ballot(1, 2)
    assert await take(journal, epochs, repeated) == {repeated.vote.vote_id}
    assert await take(journal, epochs, repeated) == frozenset()


async def test_a_request_id_is_taken_once_by_a_wallet_whatever_it_asks_for(ground: Ground) -> None:
    journal = await ground.journal()
    epochs = await own(journal)
    first = ballot(1, 2, request_id="r")
    assert len(await take(journal, epochs, first)) == 1
    assert await take(journal, epochs, ballot(1, 2, request_id="r", market_id=market_id(2))) == frozenset()
    assert len(await take(journal, epochs, ballot(2, 2, request_id="r"))) == 1


async def test_a_repeat_finds_the_vote_of_its_request(ground: Ground) -> None:
    journal = await ground.journal()
    epochs = await own(journal)
    first = ballot(1, 2, choice=False, request_id="r")
    await take(journal, epochs, first)
    repeat = cast(1, choice=False, request_id="r")
    async with journal.transaction(epochs) as transaction:
        found = (await transaction.recorded([repeat]))[repeat.vote_id]
    assert found == RecordedVote(entry(first), "r")


async def test_the_vote_of_the_same_request_comes_before_the_one_in_the_same_place(ground: Ground) -> None:
    journal = await ground.journal()
    epochs = await own(journal)
    elsewhere = ballot(1, 2, request_id="r", market_id=market_id(2))
    here = ballot(1, 2, request_id="other")
    await take(journal, epochs, elsewhere, here)
    asked, plain, stranger = cast(1, request_id="r"), cast(1), cast(2, request_id="r")
    async with journal.transaction(epochs) as transaction:
        found = await transaction.recorded([asked, plain, stranger])
    assert {key: found[key].entry.vote_id for key in found} == {
        asked.vote_id: elsewhere.vote.vote_id,
        plain.vote_id: here.vote.vote_id,
    }


async def test_a_tally_is_told_as_it_stood_at_each_version(ground: Ground) -> None:
    journal = await ground.journal()
    epochs = await own(journal)
    state = market()
    await save(journal, epochs, adopted(state))
    for version, yes, no in [(2, 3, 1), (3, 0, 2), (4, 5, 0)]:
        change = counted(state, yes=yes, no=no)
        async with journal.transaction(epochs) as transaction:
            votes = [ballot(100 * version + n, version, choice=n < yes) for n in range(yes + no)]
            await transaction.insert_ballots(votes)
            await transaction.save([change])
        state = change.market
    wanted = [at_version(v, n) for n, v in [(1, 3), (1, 1), (1, 4), (2, 4), (1, 3), (1, 2)]]
    async with journal.transaction(epochs) as transaction:
        await transaction.insert_ballots([ballot(1, 5)])  # not counted by any version yet
        standings: Sequence[Standing] = await transaction.standings(wanted)
    expected = [(3, 3), (0, 0), (8, 3), (0, 0), (3, 3), (3, 1)]
    assert standings == [Standing(Tally(yes, no, yes, no), yes + no) for yes, no in expected]


async def test_weights_add_up_beyond_64_bits(ground: Ground) -> None:
    journal = await ground.journal()
    epochs = await own(journal)
    before = market(state=Lifecycle.DISPUTED)
    await save(journal, epochs, adopted(before))
    after = replace(before, version=2, dispute=Tally(2 * U64_MAX, U64_MAX, 2, 1))
    async with journal.transaction(epochs) as transaction:
        heavy = {"vote_type": VoteType.DISPUTE, "weight": U64_MAX}
        await transaction.insert_ballots([ballot(n, 2, choice=n < 2, **heavy) for n in range(3)])
        await transaction.save([Change(after, None, is_new=False, before=before)])
        wanted = [at_version(version, vote_type=VoteType.DISPUTE) for version in (1, 2)]
        assert [standing.tally for standing in await transaction.standings(wanted)] == [Tally(), after.dispute]
    assert (await stored(journal)).dispute == after.dispute


# --- feed, alerts, configuration --------------------------------------------------------------------------------------


async def test_messages_are_kept_in_order_with_their_payload(ground: Ground) -> None:
    journal = await ground.journal()
    epochs = await own(journal)
    await save(journal, epochs, adopted(market()))
    first = counted(market(), yes=2)
    await save(journal, epochs, first)
    second = counted(first.market, no=1)
    await save(journal, epochs, second)
    told = [(*place, m.type, m.payload) for m in (*first.feed, *second.feed) for place in m.places]
    assert await ground.outbox() == told
    assert [seq for _, seq, _, _ in told] == [1, 1, 2, 2]


async def test_a_number_is_never_given_twice_in_a_channel(ground: Ground) -> None:
    journal = await ground.journal()
    epochs = await own(journal)
    await save(journal, epochs, adopted(market()))
    first = counted(market(), yes=2)
    await save(journal, epochs, first)
    with pytest.raises(JournalLost):
        await save(journal, epochs, replace(counted(first.market, yes=1), feed=first.feed))


async def test_an_open_alert_is_raised_once(ground: Ground) -> None:
    journal = await ground.journal()
    epochs = await own(journal)
    await save(journal, epochs, replace(adopted(market()), alerts=(alert("a"), alert("b"), alert("a"))))
    await save(journal, epochs, replace(counted(market(), yes=1), alerts=(alert("b"), alert("c"))))
    await journal.raise_alerts([alert("c"), alert("d"), alert("d")])
    await journal.raise_alerts([])
    assert sorted(await ground.alerts()) == ["a", "b", "c", "d"]


async def test_the_configuration_is_that_of_the_newest_slot(ground: Ground) -> None:
    journal = await ground.journal()
    assert await journal.config() is None
    newest = config(slot=U64_MAX, may_approve=False, is_paused=True)
    for read in (config(slot=5), newest, config(slot=6)):
        await ground.store.save_config(read)
    found = await journal.config()
    assert isinstance(found, ChainConfig) and found == newest


# --- attempts ---------------------------------------------------------------------------------------------------------


async def test_one_attempt_at_a_time_for_a_market_and_action(ground: Ground) -> None:
    journal = await ground.journal()
    epochs = await own(journal)
    await save(journal, epochs, adopted(market()))
    first = planned(market())
    await save(journal, epochs, first)
    with pytest.raises(JournalLost):
        await save(journal, epochs, planned(first.market))
    await save(journal, epochs, planning(first.market, Action.APPROVE))
    open_ones = await ground.store.open_transactions(10)
    assert [t.intent.action for t in open_ones] == [Action.AGGREGATE_PROPOSAL, Action.APPROVE]


async def test_an_attempt_that_was_ever_planned_is_found_by_its_id(ground: Ground) -> None:
    journal = await ground.journal()
    epochs = await own(journal)
    await save(journal, epochs, adopted(market()))
    change = planned(market())
    await save(journal, epochs, change)
    (intent,) = change.planned
    assert await journal.attempts([intent.intent_id, new_id()]) == {intent.intent_id: intent}
    await ground.store.mark_failed(intent.intent_id, "InvalidState", None)
    assert await journal.attempts([intent.intent_id]) == {intent.intent_id: intent}
    assert await journal.attempts([]) == {}


@pytest.mark.parametrize("second", [Action.FINALIZE, Action.INVALIDATE])
async def test_a_market_is_ended_by_one_attempt_at_a_time(ground: Ground, second: Action) -> None:
    journal = await ground.journal()
    epochs = await own(journal)
    await save(journal, epochs, adopted(market(state=Lifecycle.DISPUTED)))
    first = planning(market(state=Lifecycle.DISPUTED), Action.FINALIZE)
    await save(journal, epochs, first)
    assert [t.intent.pair for t in await ground.store.open_transactions(10)] == [None]
    with pytest.raises(JournalLost):
        await save(journal, epochs, planning(first.market, second))


async def test_what_ends_by_the_clock_is_found_by_its_state(ground: Ground) -> None:
    journal = await ground.journal()
    epochs = await own(journal)
    for number, state in enumerate(Lifecycle):
        await save(journal, epochs, adopted(market(market_id=market_id(number + 1), state=state)))
    wanted = [market_id(state + 1) for state in (Lifecycle.RESOLVING, Lifecycle.DISPUTED)]
    assert sorted(await journal.windowed(ALL_SHARDS)) == sorted(wanted)
    assert list(await journal.windowed([])) == []


async def test_what_was_expected_of_the_end_is_loaded_again(ground: Ground) -> None:
    journal = await ground.journal()
    epochs = await own(journal)
    kept = market(expectation=Expectation(0, 2**32 - 1, 6000), effect_unseen=True, skip_reason="unchanged")
    await save(journal, epochs, adopted(kept))
    ((loaded, _),) = await journal.load([market_id()])
    assert loaded == kept


def planning(before: Market, action: Action) -> Change:
    """The change that plans an attempt without a pair."""
    intent = Intent(new_id(), before.market_id, action, 1, None, None)
    after = replace(before, version=before.version + 1, intent=intent)
    return Change(after, None, is_new=False, planned=(intent,))


async def test_an_ended_attempt_is_handed_out_until_its_market_takes_it_in(ground: Ground) -> None:
    journal = await ground.journal()
    epochs = await own(journal)
    await save(journal, epochs, adopted(market()))
    sent = planned(market())
    await save(journal, epochs, sent)
    intent_id = sent.planned[0].intent_id
    assert await journal.settlements(ALL_SHARDS, 10) == []
    await ground.store.mark_expired(intent_id, None)
    (settlement,) = await journal.settlements(ALL_SHARDS, 10)
    assert (settlement.intent, settlement.status.value) == (sent.planned[0], "expired")
    assert await journal.settlements([virtual_shard(market_id()) ^ 1], 10) == []
    done = Change(replace(sent.market, version=3, intent=None), None, is_new=False, applied=(intent_id,))
    await save(journal, epochs, done)
    assert await journal.settlements(ALL_SHARDS, 10) == []


# --- sessions ---------------------------------------------------------------------------------------------------------


async def test_a_killed_session_is_lost_for_good(ground: Ground) -> None:
    journal = await ground.journal()
    epochs = await own(journal)
    await journal.ping()
    await ground.kill(journal)
    for _ in range(2):
        with pytest.raises(JournalLost):
            await journal.ping()
        with pytest.raises(JournalLost):
            await take(journal, epochs, ballot(1, 2))
    assert await ground.votes() == 0


async def test_a_session_killed_inside_a_transaction_commits_nothing(ground: Ground) -> None:
    journal = await ground.journal()
    epochs = await own(journal)
    with pytest.raises(JournalLost):
        async with journal.transaction(epochs) as transaction:
            await transaction.insert_ballots([ballot(1, 2)])
            await ground.kill(journal)
    assert await ground.votes() == 0


async def test_each_acquisition_is_a_new_epoch(ground: Ground) -> None:
    journal = await ground.journal()
    assert await own(journal, shards=[3, 9]) == {3: 1, 9: 1}
    assert await own(journal, shards=[9]) == {9: 2}


async def test_a_living_holder_is_waited_for_and_then_named(ground: Ground) -> None:
    await own(await ground.journal(), shards=[3])
    late = await ground.journal(acquire_timeout_s=0.05)
    with pytest.raises(VirtualShardsHeld) as held:
        await own(late, shards=[2, 3])
    assert set(held.value.holders) == {3} and "here:7000" in held.value.holders[3]
    assert await own(await ground.journal(), shards=[2]) == {2: 1}, "what it had taken is free again"


async def test_locks_are_free_once_their_session_ends(ground: Ground) -> None:
    first = await ground.journal()
    await own(first, shards=[3])
    second = await ground.journal(acquire_timeout_s=60)
    taking = asyncio.create_task(own(second, shards=[3]))
    await first.close()
    assert await taking == {3: 2}


async def test_the_session_of_a_dead_process_is_ended(ground: Ground) -> None:
    frozen = await ground.journal()
    old = await own(frozen, pid=a_dead_pid())
    successor = await ground.journal(acquire_timeout_s=60)
    assert set((await own(successor)).values()) == {2}
    with pytest.raises(JournalLost):
        await take(frozen, old, ballot(1, 2))
    assert await ground.votes() == 0


async def test_a_dead_process_of_another_host_is_not_ours_to_judge(ground: Ground) -> None:
    elsewhere = await ground.journal()
    await elsewhere.acquire([3], "there", 7000, a_dead_pid())
    with pytest.raises(VirtualShardsHeld):
        await own(await ground.journal(acquire_timeout_s=0.05), shards=[3])
    await elsewhere.ping()


async def test_a_lock_that_frees_itself_is_taken_while_waiting(ground: Ground) -> None:
    holder = await ground.journal()
    await own(holder, shards=[3])
    waiting = await ground.journal(acquire_timeout_s=60)
    taking = asyncio.create_task(own(waiting, shards=[3]))
    await ground.kill(holder)

    async def taken() -> bool:
        return taking.done()

    await eventually_async(taken)
    assert taking.result() == {3: 2}


def alert(dedupe_key: str) -> AlertNote:
    return AlertNote("approval_ready", "HIGH", dedupe_key, market_id(), {"needs": "a person"})


def full_market() -> Market:
    """A market whose every field differs from its default and from every other field of its kind."""
    numbers = iter(range(U64_MAX, 0, -1))
    times = iter(range(NOON_S, NOON_S + 100))
    intent = Intent(new_id(), market_id(), Action.APPROVE, 3, 2**32 - 1, 2**32 - 2)
    return Market(
        market_id=market_id(),
        pda=wallet(1),
        creator=wallet(2),
        state=Lifecycle.DISPUTED,
        observed_slot=next(numbers),
        b_parameter=next(numbers),
        initial_liquidity=next(numbers),
        current_liquidity=next(numbers),
        shares_yes=next(numbers),
        shares_no=next(numbers),
        total_volume=next(numbers),
        created_at_s=next(times),
        approved_at_s=next(times),
        activated_at_s=next(times),
        resolution_proposed_at_s=next(times),
        resolved_at_s=next(times),
        finalized_at_s=next(times),
        dispute_initiated_at_s=next(times),
        cancelled_at_s=next(times),
        proposed_outcome=True,
        final_outcome=False,
        question='Will "it" rain in Zürich? \\ \U0001f327',
        category="weather",
        proposal=Tally(11, 12, 13, 14),
        dispute=Tally(5 * U64_MAX, 4 * U64_MAX, 15, 16),
        proposal_log=Frontier().plus_all(leaf_hash(bytes([n])) for n in range(5)),
        dispute_log=Frontier().plus_all(leaf_hash(bytes([n])) for n in range(200, 207)),
        confirmed_likes=next(numbers),
        confirmed_dislikes=next(numbers),
        approval_ready=True,
        voting_closed=True,
        intent=intent,
        failures=17,
        next_attempt_at_s=next(times),
        version=1,
        market_seq=18,
        votes_seq=19,
    )
