"""Tallies in a real Valkey against a real PostgreSQL: whatever is deleted, late or repeated, they end up equal (T5)."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from redis.asyncio import Redis
from structlog.testing import capture_logs

from domain.ids import Wallet
from domain.journal import Change
from domain.market import Market
from domain.tally import Tally, VoteType, single
from storage.reads import MarketReads
from storage.tallies import Advance, StoredTally, TallyName, TallyReads
from storage.tally_cache import KEPT_S, NOTHING, TTL_S, WALLETS_AT_ONCE_MAX, WALLETS_MAX, TallyCache, Written
from storage.tally_projector import ProjectorSettings, TallyProjector
from tests.support.eventually import eventually_async
from tests.support.markets import market, market_id, wallet
from tests.support.storage import PostgresGround, adopted, ballot, chain_ballot, own
from tests.support.valkey import ValkeyServer

Seen = tuple[str | None, str | None, frozenset[str]]
PATIENT_S = 60.0
QUICK = ProjectorSettings(gather_s=0.001, backoff_s_min=0.01, backoff_s_max=0.05, sweep_s=None)


@dataclass
class Polls:
    """Votes that are committed as a shard commits them, and what Redis says of them."""

    ground: PostgresGround
    valkey: ValkeyServer
    redis: Redis
    markets: dict[int, Market] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.reads = TallyReads(self.ground.database)
        self.caches: list[TallyCache] = []
        self.cache = self.new_cache()

    def new_cache(self) -> TallyCache:
        self.caches.append(TallyCache(self.valkey.url, PATIENT_S))
        return self.caches[-1]

    async def start(self) -> None:
        self.journal = await self.ground.journal()
        self.epochs = await own(self.journal)

    async def open(self, number: int) -> None:
        self.markets[number] = market(market_id=market_id(number))
        async with self.journal.transaction(self.epochs) as transaction:
            await transaction.save([adopted(self.markets[number])])

    async def cast(
        self,
        number: int,
        voters: Sequence[int],
        kind: VoteType = VoteType.PROPOSAL,
        choice: bool = True,
        weight: int = 1,
    ) -> None:
        """One commit with a vote of each of these wallets, who have not voted before."""
        before = self.markets[number]
        changes: dict[str, Any] = {"market_id": before.market_id, "vote_type": kind, "weight": weight}
        ballots = [ballot(voter, before.version + 1, choice, **changes) for voter in voters]
        tally = before.tally(kind)
        for _ in voters:
            tally = tally.plus(single(choice, weight))
        async with self.journal.transaction(self.epochs) as transaction:
            await transaction.insert_ballots(ballots)
            await self._save(transaction, before, kind, tally)

    async def cast_on_chain(self, number: int, voter: int, kind: VoteType, weight: int) -> None:
        """A wallet that voted here for 1 is seen on chain, against and with another weight (P4)."""
        before = self.markets[number]
        changes: dict[str, Any] = {"market_id": before.market_id, "vote_type": kind, "weight": weight}
        tally = before.tally(kind).minus(single(True, 1)).plus(single(False, weight))
        async with self.journal.transaction(self.epochs) as transaction:
            await transaction.merge([chain_ballot(voter, before.version + 1, False, **changes)])
            await self._save(transaction, before, kind, tally)

    async def _save(self, transaction: Any, before: Market, kind: VoteType, tally: Tally) -> None:
        moved = replace(before, version=before.version + 1)
        after = replace(moved, proposal=tally) if kind is VoteType.PROPOSAL else replace(moved, dispute=tally)
        await transaction.save([Change(after, None, is_new=False, before=before)])
        self.markets = {number: after if known is before else known for number, known in self.markets.items()}

    async def stored(self, name: TallyName) -> Seen:
        """As PostgreSQL has it, counted from the votes themselves."""
        rows = await self.ground.query(
            "SELECT user_pubkey, vote, weight::text FROM vote_records WHERE market_id = $1 AND vote_type = $2", *name
        )
        yes, no = (sum(int(row["weight"]) for row in rows if row["vote"] is choice) for choice in (True, False))
        return str(yes), str(no), frozenset(row["user_pubkey"] for row in rows)

    async def cached(self, name: TallyName) -> Seen:
        """As anybody reads it in Redis, under the specification's names."""
        tally, kind = f"vote_tally:{name.market_id}", name.vote_type.value
        yes, no = await self.redis.mget(f"{tally}:{kind}:yes", f"{tally}:{kind}:no")
        wallets = await self.redis.smembers(f"vote_set:{name.market_id}:{kind}")
        return _text(yes), _text(no), frozenset(str(wallet) for wallet in wallets)

    @property
    def names(self) -> list[TallyName]:
        return [TallyName(known.market_id, kind) for known in self.markets.values() for kind in VoteType]

    async def are_equal(self) -> bool:
        return all([await self.cached(name) == await self.stored(name) for name in self.names])

    @contextlib.asynccontextmanager
    async def projecting(
        self, settings: ProjectorSettings = QUICK, reads: TallyReads | None = None
    ) -> AsyncIterator[TallyProjector]:
        projector = TallyProjector(reads or self.reads, self.new_cache(), settings)
        task = asyncio.create_task(projector.run())
        try:
            yield projector
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task

    async def read_all(self, projector: TallyProjector) -> None:
        """What GetTally does: read the market from PostgreSQL, and say so."""
        for known in self.markets.values():
            found = await MarketReads(self.ground.database).get(known.market_id)
            assert found is not None
            projector.was_read(found[0])

    async def become_equal_when_read(self, projector: TallyProjector) -> None:
        async def equal() -> bool:
            await self.read_all(projector)
            return await self.are_equal()

        await eventually_async(equal, timeout_s=60)


@pytest.fixture
async def polls(real_ground: PostgresGround, valkey: ValkeyServer) -> AsyncIterator[Polls]:
    polls = Polls(real_ground, valkey, valkey.client())
    await polls.start()
    await polls.open(1)
    yield polls
    for cache in polls.caches:
        await cache.close()
    await polls.redis.aclose()


PROPOSAL, DISPUTE = (TallyName(market_id(), kind) for kind in (VoteType.PROPOSAL, VoteType.DISPUTE))


async def test_keys_hold_decimal_weights_of_any_size_and_every_voter_for_a_week(polls: Polls) -> None:
    await polls.cast(1, [1, 2], VoteType.DISPUTE, weight=2**64 - 1)
    await polls.cast(1, [3], VoteType.DISPUTE, choice=False, weight=7)
    async with polls.projecting() as projector:
        projector.changed([market_id()])
        await eventually_async(polls.are_equal)
    assert await polls.cached(DISPUTE) == (str(2**65 - 2), "7", frozenset(map(wallet, (1, 2, 3))))
    assert await polls.cached(PROPOSAL) == ("0", "0", frozenset())
    keys = [key async for key in polls.redis.scan_iter("*")]
    assert sorted(key.split(":", 2)[0] for key in keys) == ["vote_set"] + ["vote_tally"] * 6
    assert all([0 < await polls.redis.ttl(key) <= TTL_S for key in keys])


async def test_a_wallet_whose_vote_is_superseded_by_its_vote_on_chain_stays_in_the_set(polls: Polls) -> None:
    await polls.cast(1, [1, 2], VoteType.DISPUTE)
    async with polls.projecting() as projector:
        projector.changed([market_id()])
        await eventually_async(polls.are_equal)
        await polls.cast_on_chain(1, 1, VoteType.DISPUTE, weight=9)
        projector.changed([market_id()])
        await eventually_async(polls.are_equal)
    assert await polls.cached(DISPUTE) == ("1", "9", frozenset(map(wallet, (1, 2))))


class Writers:
    """Writers that have read and not yet written, and the rule that what Redis says was true at the version it says."""

    def __init__(self, polls: Polls, rng: random.Random, number: int) -> None:
        self.polls, self.rng, self.number = polls, rng, number
        self.name = TallyName(market_id(number), rng.choice(list(VoteType)))
        self.history: dict[int, tuple[str, str, frozenset[str]]] = {}
        self.pending: list[Advance] = []
        self.newest, self.voters = NOTHING, 0
        self.deleted = False

    async def remember(self) -> None:
        yes, no, wallets = await self.polls.stored(self.name)
        self.history[self.polls.markets[self.number].version] = (yes or "", no or "", wallets)

    async def step(self) -> None:
        doing = self.rng.choices([self.commit, self.read, self.write, self.delete, self.flush], [4, 6, 6, 1, 0.3])[0]
        await doing()
        await self.check()

    async def commit(self) -> None:
        count, before = self.rng.randint(1, 4), self.voters
        self.voters += count
        voters = range(self.number * 1_000 + before, self.number * 1_000 + self.voters)
        await self.polls.cast(self.number, voters, self.name.vote_type, self.rng.random() < 0.5)
        await self.remember()

    async def read(self) -> None:
        versions = await self.polls.cache.versions([self.name])
        self.pending += await self.polls.reads.since({self.name: versions[0]}, WALLETS_MAX + 1)

    async def write(self) -> None:
        if self.pending:
            advance = self.pending.pop(self.rng.randrange(len(self.pending)))
            await self.polls.cache.advance([advance])

    async def delete(self) -> None:
        kind = self.name.vote_type.value
        tally, wallets = f"vote_tally:{self.name.market_id}:{kind}", f"vote_set:{self.name.market_id}:{kind}"
        keys = [f"{tally}:yes", f"{tally}:no", f"{tally}:version", wallets]
        await self.polls.redis.delete(*self.rng.sample(keys, self.rng.randint(1, 4)))
        self.deleted = True

    async def flush(self) -> None:
        await self.polls.redis.flushall()
        self.deleted = True

    async def check(self) -> None:
        yes, no, wallets = await self.polls.cached(self.name)
        (version,) = await self.polls.cache.versions([self.name])
        if version == NOTHING:
            return
        was = self.history[version]
        assert version >= self.newest or self.deleted, "an old write won"
        assert (yes or was[0], no or was[1]) == was[:2]
        assert wallets == was[2] or self.deleted
        self.newest = version
        self.deleted = self.deleted and (yes, no, wallets) != was


async def test_however_writers_and_deletions_interleave_an_old_write_never_wins_and_all_ends_equal(
    polls: Polls,
) -> None:
    for seed in range(3):
        writers = Writers(polls, random.Random(seed), 10 + seed)
        await polls.open(writers.number)
        await writers.remember()
        for _ in range(70):
            await writers.step()
    async with polls.projecting() as projector:
        await polls.become_equal_when_read(projector)


async def test_a_random_life_with_two_projectors_ends_equal(polls: Polls) -> None:
    rng, voters = random.Random(5), iter(range(10**6))
    await polls.open(2)
    async with polls.projecting() as notifier, polls.projecting() as server:
        for _ in range(40):
            number = rng.randint(1, 2)
            await polls.cast(number, [next(voters)], rng.choice(list(VoteType)), rng.random() < 0.5)
            notifier.changed([market_id(number)])
            if rng.random() < 0.3:
                await polls.read_all(server)
            if rng.random() < 0.2:
                keys = [key async for key in polls.redis.scan_iter("*")]
                await polls.redis.delete("none", *rng.sample(keys, min(3, len(keys))))
            if rng.random() < 0.05:
                await polls.redis.flushall()
        await polls.become_equal_when_read(server)


class LateReads(TallyReads):
    """The first answer arrives when a newer tally has been written by somebody else, and deleted."""

    def __init__(self, polls: Polls) -> None:
        super().__init__(polls.ground.database)
        self.polls, self.is_late = polls, False

    async def since(self, known: Mapping[TallyName, int], wallets_max: int) -> list[Advance]:
        answer = await super().since(known, wallets_max)
        if not self.is_late:
            self.is_late = True
            await self.polls.cast(1, [2])
            await self.polls.cache.advance(await super().since(known, wallets_max))
            await self.polls.redis.flushall()
        return answer


async def test_a_whole_that_is_written_after_a_newer_one_was_deleted_does_not_stay(polls: Polls) -> None:
    await polls.cast(1, [1])
    reads = LateReads(polls)
    async with polls.projecting(reads=reads) as projector:
        projector.changed([market_id()])
        await eventually_async(polls.are_equal)
    assert (await polls.cached(PROPOSAL))[0] == "2"


async def test_more_voters_than_fit_in_one_script_are_gathered_and_swapped_in(polls: Polls) -> None:
    many = range(2 * WALLETS_MAX + 1)
    await polls.cast(1, many[:-1])
    async with polls.projecting() as projector:
        projector.changed([market_id()])
        await eventually_async(polls.are_equal)
        await polls.redis.srem(f"vote_set:{market_id()}:proposal", wallet(0))
        await polls.cast(1, many[-1:])
        projector.changed([market_id()])
        await eventually_async(polls.are_equal)
    assert [key async for key in polls.redis.scan_iter("*gathering*")] == []


async def test_a_set_that_was_flushed_while_it_was_gathered_is_never_swapped_in(polls: Polls) -> None:
    await polls.cast(1, range(4))
    ((tally, _, wallets),) = await polls.reads.since({PROPOSAL: NOTHING}, WALLETS_MAX)

    async def pages() -> AsyncIterator[Sequence[str]]:
        yield wallets[:2]
        await polls.redis.flushall()
        yield wallets[2:]

    assert await polls.cache.replace(tally, pages()) is Written.GAP
    assert [key async for key in polls.redis.scan_iter("*")] == []


async def test_a_whole_of_an_older_version_does_not_replace_a_newer_one(polls: Polls) -> None:
    old = StoredTally(PROPOSAL, 3, 1, 0, 1)

    async def page() -> AsyncIterator[Sequence[str]]:
        yield [Wallet(wallet(1))]

    await polls.cache.advance([Advance(old._replace(version=4, yes=2, voters=2), NOTHING, [wallet(1), wallet(2)])])
    assert await polls.cache.replace(old, page()) is Written.NEWER
    assert await polls.cache.advance([Advance(old, NOTHING, [wallet(1)])]) == [Written.NEWER]
    assert await polls.cached(PROPOSAL) == ("2", "0", frozenset(map(wallet, (1, 2))))


async def test_keys_of_another_type_are_written_anew(polls: Polls) -> None:
    await polls.cast(1, [1])
    async with polls.projecting() as projector:
        projector.changed([market_id()])
        await eventually_async(polls.are_equal)
        for key in (f"vote_set:{market_id()}:proposal", f"vote_tally:{market_id()}:proposal:yes"):
            await polls.redis.delete(key)
            await polls.redis.hset(key, "a", "b")
        await polls.cast(1, [2])
        projector.changed([market_id()])

        async def equal() -> bool:
            kinds = [await polls.redis.type(f"vote_set:{market_id()}:proposal")]
            return kinds == ["set"] and await polls.redis.type(f"vote_tally:{market_id()}:proposal:yes") == "string"

        await eventually_async(equal)
        await eventually_async(polls.are_equal)


async def test_what_was_flushed_is_written_as_a_whole_with_the_next_change(polls: Polls) -> None:
    await polls.cast(1, [1, 2])
    async with polls.projecting() as projector:
        projector.changed([market_id()])
        await eventually_async(polls.are_equal)
        await polls.redis.flushall()
        await polls.cast(1, [3])
        projector.changed([market_id()])
        await eventually_async(polls.are_equal)


async def test_a_tally_that_did_not_change_is_written_again_only_when_its_end_comes_near(polls: Polls) -> None:
    at_1, at_2 = (StoredTally(PROPOSAL, version, 1, 0, 1) for version in (1, 2))
    await polls.cache.advance([Advance(at_1, NOTHING, [wallet(1)])])
    assert await polls.cache.advance([Advance(at_2, 1, [])]) == [Written.DONE]
    assert await polls.cache.versions([PROPOSAL]) == [1]
    await polls.redis.expire(f"vote_tally:{market_id()}:proposal:yes", KEPT_S)
    assert await polls.cache.advance([Advance(at_2, 1, [])]) == [Written.DONE]
    assert await polls.cache.versions([PROPOSAL]) == [2]
    assert await polls.redis.ttl(f"vote_tally:{market_id()}:proposal:yes") > KEPT_S


async def test_many_tallies_are_written_by_as_few_scripts_as_their_wallets_allow(polls: Polls) -> None:
    each = WALLETS_AT_ONCE_MAX // 2
    names = [TallyName(market_id(number), VoteType.PROPOSAL) for number in range(1, 6)]
    voters = {name: [wallet(place * each + voter) for voter in range(each)] for place, name in enumerate(names)}
    await polls.redis.config_resetstat()
    tallies = [Advance(StoredTally(name, 1, each, 0, each), NOTHING, voters[name]) for name in names]
    assert await polls.cache.advance(tallies) == [Written.DONE] * len(names)
    assert [await polls.cached(name) for name in names] == [(str(each), "0", frozenset(voters[name])) for name in names]
    assert (await polls.redis.info("commandstats"))["cmdstat_evalsha"]["calls"] == 1 + 3  # the first one was unknown


async def test_a_sweep_mends_what_is_wrong_and_lets_sleep_what_is_not_there(polls: Polls) -> None:
    await polls.open(2)
    await polls.cast(1, [1, 2])
    await polls.cast(2, [1, 2])
    await polls.cache.advance([Advance(StoredTally(PROPOSAL, 1, 1, 0, 1), NOTHING, [wallet(1)])])
    async with polls.projecting(replace(QUICK, sweep_s=3600.0)):

        async def mended() -> bool:
            return await polls.cached(PROPOSAL) == await polls.stored(PROPOSAL)

        await eventually_async(mended)
    assert await polls.cached(TallyName(market_id(2), VoteType.PROPOSAL)) == (None, None, frozenset())


async def test_an_outage_is_said_once_and_everything_that_changed_meanwhile_is_written_after_it(polls: Polls) -> None:
    async with polls.projecting() as projector:
        await polls.valkey.kill()
        with capture_logs() as logs:
            for voter in range(5):
                await polls.cast(1, [voter])
                projector.changed([market_id()])
                await asyncio.sleep(0)
            await eventually_async(lambda: _said(logs, 1))
            await polls.valkey.start()
            await eventually_async(polls.are_equal)
            await eventually_async(lambda: _said(logs, 2))
    assert [line["event"] for line in logs] == ["outage", "outage is over"]


def _text(value: object) -> str | None:
    return None if value is None else str(value)


async def _said(logs: Sequence[Any], lines: int) -> bool:
    return len(logs) >= lines
