"""Random histories of votes through the API and on chain: whatever happens, log, tally and answers agree.

Every history is made from a seed: votes, repeats, chain votes seen again and again, closings, ends of voting and kills.
"""

from __future__ import annotations

import asyncio
import random
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import replace

import pytest

from actors.messages import Answer
from domain.commands import CastVote, Command, RecordChainVote
from domain.intents import IntentStatus
from domain.lifecycle import Lifecycle
from domain.merkle import Frontier
from domain.outcomes import Done, VoteTaken
from domain.tally import VoteType
from domain.votelog import LoggedVote, leaf_of
from tests.support.markets import NOON_S, market_id, observed, wallet
from tests.support.shard import OneShard, recount
from tests.support.storage import Ground, MemoryGround, PostgresGround, cast, chain_vote

SEEDS, STEPS = 50, 60
"""3,000 steps over the twin; on PostgreSQL a tenth of them."""
MARKETS, WALLETS = 3, 14
CHAIN_NAMES = uuid.UUID("6ba7b812-9dad-11d1-80b4-00c04fd430c8")

Doing = Callable[[], Awaitable[None]]


class History:
    """A shard that random things happen to, and what its callers were told."""

    def __init__(self, ground: Ground, seed: int) -> None:
        self.shard = OneShard(ground)
        self._rng = random.Random(seed)
        self._slots = dict.fromkeys(range(1, MARKETS + 1), 10)
        self._sent: list[CastVote] = []
        self.told: dict[str, tuple[CastVote, VoteTaken]] = {}
        self.recorded: dict[str, RecordChainVote] = {}

    async def run(self, steps: int) -> None:
        await self.shard.start()
        for number in self._slots:
            await self.shard.show(observed(market_id=market_id(number)))
        rare: list[Doing] = [self._grid, self._grid, self._end, self._end, self._state, self.shard.start]
        for _ in range(steps):
            await self._rng.choice([*rare, *[self._votes] * 8])()

    async def _votes(self) -> None:
        """A batch of new votes, repeats and chain votes in any order."""
        makers: list[Callable[[], CastVote | RecordChainVote]] = [
            self._cast,
            self._cast,
            self._cast,
            self._repeat,
            self._chain,
        ]
        commands = [self._rng.choice(makers)() for _ in range(self._rng.randint(1, 8))]
        for command, answer in zip(commands, await self.shard.send(*commands), strict=True):
            self._hear(command, answer)

    def _hear(self, command: Command, answer: Answer) -> None:
        if isinstance(command, RecordChainVote) and isinstance(answer, Done):
            self.recorded[command.vote_id] = command
        if isinstance(answer, VoteTaken) and isinstance(command, CastVote):
            _, first = self.told.setdefault(answer.vote_id, (command, answer))
            assert replace(answer, replayed=first.replayed) == first, "a repeat is answered as the first time"
            assert answer.replayed or answer.vote_id == command.vote_id

    def _place(self) -> tuple[int, int, VoteType]:
        numbers = self._rng.randint(1, MARKETS), self._rng.randint(1, WALLETS)
        return (*numbers, self._rng.choice([VoteType.PROPOSAL, VoteType.PROPOSAL, VoteType.DISPUTE]))

    def _cast(self) -> CastVote:
        number, voter, kind = self._place()
        weight = 1 if kind is VoteType.PROPOSAL else self._rng.randint(1, 2**64 - 1)
        request_id = self._rng.choice([None, str(uuid.UUID(int=self._rng.getrandbits(128)))])
        signature = self._rng.choice([None, "5" * 88])
        new = {"market_id": market_id(number), "vote_type": kind, "weight": weight, "request_id": request_id}
        vote = cast(voter, self._rng.random() < 0.8, wallet_signature=signature, **new)
        self._sent.append(vote)
        return vote

    def _repeat(self) -> CastVote:
        if not self._sent:
            return self._cast()
        vote = self._rng.choice(self._sent)
        is_new_call = vote.request_id is not None and self._rng.random() < 0.5
        return replace(vote, vote_id=str(uuid.UUID(int=self._rng.getrandbits(128)))) if is_new_call else vote

    def _chain(self) -> RecordChainVote:
        """The vote of a place as the chain has it: always the same one."""
        number, voter, kind = self._place()
        fixed = random.Random(f"{number} {voter} {kind}")
        weight = 1 if kind is VoteType.PROPOSAL else fixed.choice([0, fixed.randint(1, 2**64 - 1)])
        vote_id = str(uuid.uuid5(CHAIN_NAMES, f"{number} {wallet(voter)} {kind}"))
        place = {"market_id": market_id(number), "vote_type": kind, "weight": weight, "vote_id": vote_id}
        return chain_vote(voter, fixed.random() < 0.8, **place)

    async def _grid(self) -> None:
        self.shard.clock.s += 300
        await self.shard.core.fire_due()

    async def _end(self) -> None:
        """The open attempts end, one way or the other."""
        store = self.shard.ground.store
        for attempt in await store.open_transactions(100):
            intent_id = attempt.intent.intent_id
            if attempt.status is IntentStatus.PLANNED and self._rng.random() < 0.7:
                await store.mark_signed(intent_id, b"raw", intent_id, "hash", 1)
                await store.mark_confirmed(intent_id, 20, None)
            else:
                await store.mark_failed(intent_id, "InvalidState", None)
        await self.shard.core.take_settlements()

    async def _state(self) -> None:
        """A market moves on, and back to its start where that is legal or another is born."""
        number = self._rng.choice(list(self._slots))
        state = self._rng.choice([Lifecycle.PROPOSED, Lifecycle.APPROVED, Lifecycle.DISPUTED, Lifecycle.RESOLVING])
        self._slots[number] += 1
        since_s = NOON_S if state in (Lifecycle.DISPUTED, Lifecycle.RESOLVING) else 0
        here = {"market_id": market_id(number), "slot": self._slots[number]}
        await self.shard.show(observed(state=state, dispute_initiated_at_s=since_s, **here))

    async def check(self) -> None:
        """Held against each other: log, frontier and tally (in `log`), answers, aggregations, and the chain."""
        kept: dict[str, tuple[int, LoggedVote]] = {}
        for number in self._slots:
            for kind in VoteType:
                entries = await self.shard.log(number, kind)
                kept |= {each.entry.vote_id: (place, each) for place, each in enumerate(entries, start=1)}
                kept |= {each.entry.vote_id: (0, each) for each in await self.shard.late(number, kind)}
            await self._check_aggregations(number)
        for vote_id, (vote, answer) in self.told.items():
            place, each = kept[vote_id]
            assert (place, leaf_of(each.entry)) == (answer.sequence, answer.leaf_hash)
            assert (each.entry.wallet, each.entry.vote_type) == (vote.wallet, vote.vote_type)
        assert set(self.recorded) <= set(kept)
        first_seen = {vote_id: kept[vote_id][1].entry for vote_id in self.recorded}
        assert all(entry.choice is self.recorded[vote_id].choice for vote_id, entry in first_seen.items())

    async def _check_aggregations(self, number: int) -> None:
        logs = {kind: await self.shard.log(number, kind) for kind in VoteType}
        for kind, size, root, yes, no in set(await self.shard.ground.roots(market_id(number))):
            assert size is not None
            assert root == Frontier().plus_all(leaf_of(each.entry) for each in logs[kind][:size]).root().hex()
            counted = recount(logs[kind][:size])
            assert (counted.yes, counted.no) == (yes, no)


async def test_log_tally_and_answers_agree_after_any_history() -> None:
    told = recorded = aggregations = superseded = late = 0
    for seed in range(SEEDS):
        ground = MemoryGround()
        history = History(ground, seed)
        await history.run(STEPS)
        await history.check()
        told, recorded = told + len(history.told), recorded + len(history.recorded)
        aggregations += len(ground.database.tables.aggregations)
        superseded, late = superseded + len(ground.database.tables.superseded), late + len(ground.database.tables.late)
    assert min(told, recorded, aggregations, superseded, late) > 100, "the histories are about something"


@pytest.mark.parametrize("seed", [1, 2, 3])
async def test_log_tally_and_answers_agree_on_postgresql(real_ground: PostgresGround, seed: int) -> None:
    history = History(real_ground, seed)
    await history.run(STEPS)
    await history.check()
    assert min(len(history.told), len(history.recorded)) > 5


async def test_a_wallet_that_votes_both_ways_at_once_counts_once_as_on_chain(real_ground: PostgresGround) -> None:
    """Many tasks, each sending one of two votes of a wallet again and again through the shard that serves them."""
    history, gate, voters = History(real_ground, 0), asyncio.Semaphore(1), range(1, 31)
    await history.run(0)
    rng = random.Random(7)

    async def send(vote: CastVote | RecordChainVote) -> None:
        for _ in range(3):
            await asyncio.sleep(0)
            async with gate:  # a shard takes one batch after the other, whoever sends them
                (answer,) = await history.shard.send(vote)
            history._hear(vote, answer)

    votes: list[CastVote | RecordChainVote] = [chain_vote(voter, False) for voter in voters]
    votes += [cast(voter, request_id=str(uuid.uuid4())) for voter in voters]
    rng.shuffle(votes)
    await asyncio.gather(*(send(vote) for vote in votes))
    await history.check()
    counted = (await history.shard.market()).proposal
    assert (counted.yes, counted.no, counted.yes_voters, counted.no_voters) == (0, 30, 0, 30)
    assert len(history.recorded) == 30
    assert 0 < len(history.told) < 30, "some came before the chain's and were superseded, some after"
    assert len(await history.shard.log()) == 30 + len(history.told)
