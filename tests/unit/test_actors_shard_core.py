"""A shard's batch over the journal's twin: decided once, committed once, answered in order."""

from __future__ import annotations

import dataclasses
import uuid
from collections.abc import AsyncIterator
from typing import Any

import pytest

from actors import market_actor
from actors.household import Household
from actors.messages import Answer, Batch, Failed, WrongOwner
from actors.residents import ANNOUNCE_S
from actors.shard_core import BROKEN_RETRY_S, ShardCore, ShardSettings
from domain.attempts import ATTEMPTS_MAX, WINDOW_S
from domain.commands import AdoptMarket, CastVote, Command, DescribeMarket
from domain.decisions import decide
from domain.ids import VIRTUAL_SHARDS, virtual_shard
from domain.intents import Action
from domain.lifecycle import Lifecycle
from domain.observed import ChainClock
from domain.outcomes import Done, VoteTaken
from domain.refusals import AlreadyVoted, MarketNotFound, NotTheCreator, RequestIdReused, TooManyAttempts, VotingClosing
from domain.standing import ActorStanding, AskStanding
from domain.tally import Tally, VoteType
from storage.memory import MemoryJournal
from storage.memory_tables import MemoryDatabase
from storage.transactions import MemoryTransactionStore
from tests.support.markets import CREATOR, NOON_S, FiveMinutes, config, market_id, observed, vote, wallet
from tests.support.shard import HandClock


class Bench:
    """One shard over one database in memory; `restart` is what a killed process and its successor come to."""

    def __init__(self) -> None:
        self.database = MemoryDatabase()
        self.wall = HandClock()
        self.core: ShardCore
        self._batches = 0

    async def restart(self) -> None:
        settings = ShardSettings(FiveMinutes(), 10, self.wall, self.wall)
        self.journal = MemoryJournal(self.database)
        self.core = ShardCore(self.journal, settings)
        await self.core.boot(range(VIRTUAL_SHARDS), "host", 1, 4_000_000)
        self.core.hear(ChainClock(10, int(self.wall.s)), config())

    async def die(self) -> None:
        await self.journal.close()
        await self.restart()

    async def send(self, *commands: Command) -> tuple[Answer, ...]:
        self._batches += 1
        return await self.core.handle(Batch("gateway", self._batches, self.core.epochs, commands))

    async def adopt(self, **changes: Any) -> None:
        account = observed(**changes)
        assert await self.send(AdoptMarket(account.market_id, account)) == (Done(1),)

    def tally(self, number: int = 1) -> Tally:
        return self.database.tables.markets[market_id(number)][0].proposal

    def votes(self) -> int:
        return len(self.database.tables.places)

    def planned(self) -> list[Action]:
        return [attempt.intent.action for attempt in self.database.tables.attempts.values()]


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    bench = Bench()
    await bench.restart()
    yield bench
    await bench.journal.close()


def ballot(number: int, choice: bool = True, **changes: Any) -> CastVote:
    return dataclasses.replace(vote(number, choice), vote_id=str(uuid.uuid4()), **changes)


async def test_a_vote_is_taken_counted_and_told(bench: Bench) -> None:
    await bench.adopt()
    first, second = await bench.send(ballot(1), ballot(2, choice=False))
    assert isinstance(first, VoteTaken)
    assert isinstance(second, VoteTaken)
    assert first.tally == second.tally == Tally(1, 1, 1, 1), "both stand after the commit that took both"
    assert bench.tally() == Tally(1, 1, 1, 1)


async def test_the_commit_of_new_votes_wakes_the_notifier_unless_it_was_woken_just_before(bench: Bench) -> None:
    await bench.adopt()
    await bench.send(ballot(1))
    assert (bench.database.announcements, bench.core.residents.has_news) == (1, False)
    await bench.send(ballot(2))
    assert (bench.database.announcements, bench.core.residents.has_news) == (1, True), "the shard does, when it is time"
    assert 0 < bench.core.residents.announce_wait_s() <= ANNOUNCE_S
    bench.wall.s += ANNOUNCE_S
    await bench.send(ballot(3))
    assert (bench.database.announcements, bench.core.residents.has_news) == (2, False), "for both"


async def test_a_second_vote_by_the_same_wallet_is_refused(bench: Bench) -> None:
    await bench.adopt()
    await bench.send(ballot(1))
    assert await bench.send(ballot(1, choice=False)) == (AlreadyVoted(market_id()),)
    assert (bench.tally(), bench.votes()) == (Tally(1, 0, 1, 0), 1)


async def test_of_many_votes_of_one_wallet_in_one_batch_the_first_counts(bench: Bench) -> None:
    await bench.adopt()
    answers = await bench.send(*(ballot(1, choice=bool(turn % 2 == 0)) for turn in range(50)))
    assert [type(answer) for answer in answers] == [VoteTaken] + [AlreadyVoted] * 49
    assert (bench.tally(), bench.votes()) == (Tally(1, 0, 1, 0), 1)


async def test_the_same_call_sent_again_gets_the_same_answer(bench: Bench) -> None:
    await bench.adopt()
    cast = ballot(1)
    (first,) = await bench.send(cast)
    await bench.send(ballot(2), ballot(3, choice=False))
    (again,) = await bench.send(cast)
    assert isinstance(first, VoteTaken)
    assert again == dataclasses.replace(first, replayed=True)


async def test_the_same_vote_twice_in_one_batch_counts_once(bench: Bench) -> None:
    await bench.adopt()
    cast = ballot(1)
    first, again = await bench.send(cast, cast)
    assert isinstance(first, VoteTaken)
    assert (first.replayed, again) == (False, dataclasses.replace(first, replayed=True))
    assert (bench.tally(), bench.votes()) == (Tally(1, 0, 1, 0), 1)


async def test_a_request_id_replays_its_answer_across_a_kill(bench: Bench) -> None:
    await bench.adopt()
    key = str(uuid.uuid4())
    (first,) = await bench.send(ballot(1, request_id=key))
    await bench.die()
    await bench.send(ballot(2))
    (again,) = await bench.send(ballot(1, request_id=key))
    assert isinstance(first, VoteTaken)
    assert again == dataclasses.replace(first, replayed=True)
    assert bench.tally() == Tally(2, 0, 2, 0)


async def test_a_repeat_is_answered_even_when_the_market_takes_no_more_votes(bench: Bench) -> None:
    await bench.adopt()
    key = str(uuid.uuid4())
    await bench.send(ballot(1, request_id=key))
    approved = observed(slot=50, state=Lifecycle.APPROVED)
    await bench.send(AdoptMarket(market_id(), approved))
    (again,) = await bench.send(ballot(1, request_id=key))
    assert isinstance(again, VoteTaken)
    assert again.replayed


async def test_another_body_under_the_same_request_id_is_its_own_refusal(bench: Bench) -> None:
    await bench.adopt()
    await bench.adopt(market_id=market_id(2))
    key = str(uuid.uuid4())
    await bench.send(ballot(1, request_id=key))
    other_choice = ballot(1, choice=False, request_id=key)
    other_market = ballot(1, market_id=market_id(2), request_id=key)
    assert await bench.send(other_choice, other_market) == (
        RequestIdReused(market_id(), key),
        RequestIdReused(market_id(2), key),
    )
    assert bench.votes() == 1


async def test_a_vote_for_a_market_nobody_adopted_wakes_no_actor(bench: Bench) -> None:
    assert await bench.send(ballot(1)) == (MarketNotFound(market_id()),)
    assert market_id() not in bench.core.residents.household


async def test_a_batch_under_an_old_epoch_is_not_carried_out(bench: Bench) -> None:
    await bench.adopt()
    old = {vshard: epoch - 1 for vshard, epoch in bench.core.epochs.items()}
    assert await bench.core.handle(Batch("gateway", 99, old, (ballot(1),))) == (WrongOwner(),)
    assert bench.votes() == 0


async def test_answers_keep_the_order_of_a_mixed_batch(bench: Bench) -> None:
    await bench.adopt()
    answers = await bench.send(
        ballot(1),
        DescribeMarket(market_id(), wallet(99), False, "mine now?", ""),
        ballot(1),
        DescribeMarket(market_id(), CREATOR, False, "Will it rain?", "weather"),
        ballot(2, market_id=market_id(77)),
    )
    assert [type(answer) for answer in answers] == [VoteTaken, NotTheCreator, AlreadyVoted, Done, MarketNotFound]
    assert bench.database.tables.markets[market_id()][0].question == "Will it rain?"


async def test_the_grid_sends_the_tallies_and_closes_the_voting(bench: Bench) -> None:
    await bench.adopt()
    await bench.send(*(ballot(number, choice=number <= 7) for number in range(1, 11)))
    bench.wall.s += 299
    assert await bench.core.fire_due() == 0
    bench.wall.s += 1
    assert await bench.core.fire_due() == 1
    assert bench.planned() == [Action.AGGREGATE_PROPOSAL]
    assert await bench.send(ballot(11)) == (VotingClosing(market_id()),)
    assert bench.core.residents.planned_work


async def test_the_plan_of_an_aggregation_notes_what_it_counts(bench: Bench) -> None:
    await bench.adopt()
    await bench.send(*(ballot(number, choice=number <= 2) for number in range(1, 5)))
    log = bench.database.tables.markets[market_id()][0].proposal_log
    bench.wall.s += 300
    await bench.core.fire_due()
    await bench.send(ballot(9))
    ((note,),) = [[row.note for row in bench.database.tables.aggregations.values()]]
    assert (note.votes_size, note.votes_root) == (4, log.root().hex())


async def test_votes_are_accepted_at_the_time_of_the_shards_clock(bench: Bench) -> None:
    await bench.adopt()
    bench.wall.s += 0.1239
    cast = ballot(1)
    await bench.send(cast)
    assert bench.database.tables.votes[cast.vote_id].accepted_at_ms == NOON_S * 1000 + 123


async def test_a_clock_that_jumps_over_many_instants_fires_once(bench: Bench) -> None:
    await bench.adopt()
    await bench.send(ballot(1))
    bench.wall.s += 86_400
    assert [await bench.core.fire_due() for _ in range(3)] == [1, 0, 0]
    assert bench.planned() == [Action.AGGREGATE_PROPOSAL]


async def test_a_deadline_missed_while_nobody_lived_fires_after_the_start(bench: Bench) -> None:
    await bench.adopt()
    await bench.send(ballot(1))
    bench.wall.s += 3_600
    await bench.die()
    assert await bench.core.fire_due() == 1
    assert bench.planned() == [Action.AGGREGATE_PROPOSAL]


async def test_nothing_fires_while_the_chain_clock_is_unknown(bench: Bench) -> None:
    await bench.adopt()
    await bench.send(ballot(1))
    bench.wall.s += 3_600
    bench.core.residents.chain.clock = None
    assert await bench.core.fire_due() == 0


async def test_an_older_reading_of_the_clock_is_not_believed(bench: Bench) -> None:
    bench.core.hear(ChainClock(20, NOON_S + 600), None)
    bench.core.hear(ChainClock(15, NOON_S), None)
    assert bench.core.residents.chain.unix_s(bench.wall.s) == NOON_S + 600


async def test_a_bug_in_one_market_leaves_the_others_alone(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    await bench.adopt()
    await bench.adopt(market_id=market_id(2))

    def decide_with_a_bug(market: Any, command: Any, *rest: Any) -> Any:
        if command.market_id == market_id(2):
            raise ZeroDivisionError("a bug of ours")
        return decide(market, command, *rest)

    monkeypatch.setattr(market_actor, "decide", decide_with_a_bug)
    good, bad = await bench.send(ballot(1), ballot(1, market_id=market_id(2)))
    assert isinstance(good, VoteTaken)
    assert isinstance(bad, Failed)
    assert uuid.UUID(bad.incident), "the caller gets a name for it, the log has the error"
    ((key, note),) = bench.database.tables.alerts.items()
    assert (key, note.severity) == (f"market_actor_broken:{market_id(2)}", "HIGH")
    assert note.data == {"error": note.data["error"], "incident": bad.incident}
    monkeypatch.undo()
    (healed,) = await bench.send(ballot(1, market_id=market_id(2)))
    assert isinstance(healed, VoteTaken), "the actor was rebuilt from the journal"


async def test_markets_load_on_first_touch_after_a_start(bench: Bench) -> None:
    for number in range(1, 6):
        await bench.adopt(market_id=market_id(number))
    await bench.die()
    assert len(bench.core.residents.household) == 0
    await bench.send(ballot(1, market_id=market_id(3)))
    assert market_id(3) in bench.core.residents.household
    assert len(bench.core.residents.household) == 1


async def test_a_failed_commit_leaves_neither_rows_nor_memory(bench: Bench) -> None:
    await bench.adopt()
    vshard = virtual_shard(market_id())
    owner = bench.database.owners[vshard]
    bench.database.owners[vshard] = dataclasses.replace(owner, epoch=owner.epoch + 1)
    with pytest.raises(Exception, match="epochs"):
        await bench.send(ballot(1))
    assert (bench.votes(), bench.tally()) == (0, Tally())
    assert VoteType.PROPOSAL


async def test_a_deadline_of_a_broken_market_is_tried_again(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    await bench.adopt()
    await bench.send(ballot(1))
    bench.wall.s += 300
    monkeypatch.setattr(market_actor.MarketActor, "_decide", lambda *_: 1 / 0)
    assert await bench.core.fire_due() == 1
    monkeypatch.undo()
    assert bench.planned() == []
    assert list(bench.database.tables.alerts) == [f"market_actor_broken:{market_id()}"]
    bench.wall.s += BROKEN_RETRY_S
    assert await bench.core.fire_due() == 1
    assert bench.planned() == [Action.AGGREGATE_PROPOSAL]


async def test_an_end_that_a_broken_market_could_not_take_in_comes_again(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    await bench.adopt()
    await bench.send(ballot(1))
    bench.wall.s += 300
    await bench.core.fire_due()
    store = MemoryTransactionStore(bench.database)
    (planned,) = await store.open_transactions(10)
    await store.mark_failed(planned.intent.intent_id, "InvalidStateForVoting", None)
    monkeypatch.setattr(market_actor.MarketActor, "_decide", lambda *_: 1 / 0)
    assert await bench.core.take_settlements() == 0
    monkeypatch.undo()
    assert await bench.core.take_settlements() == 1
    assert await bench.core.take_settlements() == 0


async def test_the_eleventh_refused_attempt_is_not_even_looked_at(bench: Bench) -> None:
    await bench.adopt()
    key = str(uuid.uuid4())
    await bench.send(ballot(1, request_id=key))
    for _ in range(ATTEMPTS_MAX):
        assert await bench.send(ballot(1, choice=False)) == (AlreadyVoted(market_id()),)
    assert (await bench.send(ballot(1), ballot(2)))[:1] == (TooManyAttempts(market_id(), WINDOW_S),)
    bench.wall.s += WINDOW_S
    assert await bench.send(ballot(1)) == (AlreadyVoted(market_id()),)


async def test_repeats_of_a_vote_are_not_attempts(bench: Bench) -> None:
    await bench.adopt()
    key = str(uuid.uuid4())
    for _ in range(3 * ATTEMPTS_MAX):
        (answer,) = await bench.send(ballot(1, request_id=key))
        assert isinstance(answer, VoteTaken)


async def test_markets_that_deadlines_woke_fall_asleep_again(bench: Bench) -> None:
    for number in (1, 2, 3):
        await bench.adopt(market_id=market_id(number))
        await bench.send(ballot(1, market_id=market_id(number)))
    bench.wall.s += 3_600
    await bench.die()
    bench.core.residents.household = Household(residents_max=1)
    assert await bench.core.fire_due() == 3
    assert len(bench.core.residents.household) == 1


async def test_an_actor_says_how_it_stands_after_everything_else_of_its_batch(bench: Bench) -> None:
    await bench.adopt()
    cast = ballot(1)
    asked = Batch("gateway", 99, bench.core.epochs, (AskStanding(market_id()), cast))
    standing, taken = await bench.core.handle(asked)
    assert isinstance(taken, VoteTaken)
    assert isinstance(standing, ActorStanding)
    assert (standing.market.version, standing.is_active, standing.mailbox) == (2, True, 1)
    assert standing.last_decision is not None
    assert standing.last_decision.words == "votes: VotesCounted"
    assert [each.kind for each in standing.deadlines] == ["tick"]
    assert (standing.host, standing.pid, standing.epoch) == ("host", 4_000_000, 1)


async def test_a_sleeping_market_is_described_and_not_woken_and_an_unknown_one_refused(bench: Bench) -> None:
    await bench.adopt()
    await bench.die()
    asked = Batch("gateway", 1, bench.core.epochs, (AskStanding(market_id()), AskStanding(market_id(2))))
    standing, unknown = await bench.core.handle(asked)
    assert isinstance(standing, ActorStanding)
    assert (standing.is_active, standing.last_decision) == (False, None)
    assert unknown == MarketNotFound(market_id(2))
    assert len(bench.core.residents.household) == 0


async def test_a_shard_says_how_many_markets_it_holds_and_for_how_long_one_has_been_due(bench: Bench) -> None:
    await bench.adopt()
    await bench.send(ballot(1))
    await bench.core.beat(restarts=2, recent_losses=1)
    (said,) = bench.database.beats.values()
    assert (said.resident_markets, said.deadlines, said.lag_s, said.restarts) == (1, 1, 0, 2)
    bench.wall.s += 1_000
    await bench.core.beat(restarts=2, recent_losses=1)
    (said,) = bench.database.beats.values()
    assert said.lag_s > 600
