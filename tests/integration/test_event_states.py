"""What each of the 18 events comes to (CI 7.1): state and figures of markets, positions, trades; by their owners."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, replace

import pytest
from solders.instruction import Instruction
from solders.keypair import Keypair

from chain.program import ConfigChange
from domain.ids import MarketId
from domain.lifecycle import Lifecycle
from domain.market import Market
from domain.positions import Holding
from indexer.service import Indexer
from storage.projections import Projections
from tests.support.indexing import FAST, Bench, open_bench
from tests.support.ledger import Chain, market_id
from tests.support.reconciling import Reconciling, ShardMarkets, reconciling
from tests.support.stage import HASH, SOL, wallet
from tests.support.storage import PostgresGround

NEWEST = "SELECT event_type FROM event_logs ORDER BY block_slot DESC, block_index DESC, event_index DESC LIMIT 1"
AT_S = "SELECT max(extract(epoch FROM timestamp)) FROM event_logs"


@dataclass
class World:
    """A chain, its indexer, and the markets' actors."""

    scene: Reconciling
    bench: Bench

    async def event(self, call: Instruction, pair: Keypair) -> str:
        """Land a call, index what it logged, and let markets and positions hear; the event's name."""
        self.scene.chain.clock.unix_s += 1
        self.scene.chain.ledger.tick()
        _, body = await self.bench.landed(call, pair)
        await self.bench.put(body)
        await self.bench.work()
        while await self.scene.reader.step():
            pass
        return str(await self.bench.rows.one(NEWEST))

    async def at_s(self) -> int:
        """When the newest event happened, as it says itself."""
        return int(await self.bench.rows.one(AT_S))

    async def market(self, market: MarketId) -> Market:
        return await self.scene.market(market)


@pytest.fixture
async def world(chain: Chain, database_url: str, real_ground: PostgresGround) -> AsyncIterator[World]:
    async with reconciling(chain, real_ground) as scene, open_bench(chain, database_url, Projections()) as bench:
        bench.indexer = Indexer(replace(bench.parts, markets=ShardMarkets(scene.shard)), FAST)
        yield World(scene, bench)


async def created(world: World, number: int) -> MarketId:
    """A new market of which the indexer knows."""
    chain, market = world.bench.chain, market_id(number)
    call = chain.program.create_market(chain.keys.admin.wallet, market, 100 * SOL, SOL // 10, HASH)
    assert await world.event(call, chain.keys.admin.pair) == "MarketCreated"
    assert (await world.market(market)).state is Lifecycle.PROPOSED
    return market


async def test_every_event_of_a_market_comes_to_what_the_interface_says(world: World) -> None:
    chain = world.bench.chain
    program, admin, backend, fees = chain.program, chain.keys.admin, chain.keys.backend, chain.keys.fee_wallet.wallet
    alice, bob = await chain.funded(2_000 * SOL), await chain.funded(2_000 * SOL)
    market = await created(world, 1)
    of_alice = Holding(market, wallet(alice))

    async def goes(call: Instruction, pair: Keypair, event: str, state: Lifecycle) -> Market:
        assert await world.event(call, pair) == event
        known = await world.market(market)
        assert known.state is state, event
        return known

    await goes(
        program.submit_proposal_vote(wallet(bob), market, True), bob, "ProposalVoteSubmitted", Lifecycle.PROPOSED
    )
    tally = program.aggregate_proposal_votes(backend.wallet, market, 9, 1)
    await goes(tally, backend.pair, "ProposalAggregated", Lifecycle.PROPOSED)
    known = await goes(
        program.approve_proposal(admin.wallet, market), admin.pair, "ProposalApproved", Lifecycle.APPROVED
    )
    assert known.approved_at_s == await world.at_s()
    known = await goes(program.activate_market(admin.wallet, market), admin.pair, "MarketActivated", Lifecycle.ACTIVE)
    assert known.activated_at_s == await world.at_s()
    for buyer, outcome in ((alice, True), (bob, False)):
        call = program.buy_shares(wallet(buyer), market, outcome, 20 * SOL, fees)
        await goes(call, buyer, "SharesBought", Lifecycle.ACTIVE)
    held = await world.scene.positions.known(*of_alice, 1)
    assert held is not None
    selling = program.sell_shares(wallet(alice), market, True, held.observed.shares_yes // 9, 1, fees)
    known = await goes(selling, alice, "SharesSold", Lifecycle.ACTIVE)
    (account,) = (await world.bench.parts.accounts.markets([market])).values()
    assert (known.shares_yes, known.total_volume) == (account.shares_yes, account.total_volume), "read, not summed"
    assert await world.bench.rows.one("SELECT count(*) FROM trades") == 3
    resolving = program.resolve_market(wallet(bob), market, True, HASH)
    known = await goes(resolving, bob, "MarketResolved", Lifecycle.RESOLVING)
    assert (known.proposed_outcome, known.resolution_proposed_at_s) == (True, await world.at_s())
    disputing = program.initiate_dispute(wallet(alice), market)
    known = await goes(disputing, alice, "DisputeInitiated", Lifecycle.DISPUTED)
    assert known.dispute_initiated_at_s == await world.at_s()
    voting = program.submit_dispute_vote(wallet(bob), market, False)
    await goes(voting, bob, "DisputeVoteSubmitted", Lifecycle.DISPUTED)
    succeeding = program.aggregate_dispute_votes(backend.wallet, market, 9, 1)
    await goes(succeeding, backend.pair, "DisputeAggregated", Lifecycle.RESOLVING)
    chain.clock.unix_s += 4 * 86_400
    finalizing = program.finalize_market(backend.wallet, market, None, None)
    known = await goes(finalizing, backend.pair, "MarketFinalized", Lifecycle.FINALIZED)
    assert (known.final_outcome, known.finalized_at_s) == (True, await world.at_s())
    claiming = program.claim_winnings(wallet(alice), market, wallet(bob))
    await goes(claiming, alice, "WinningsClaimed", Lifecycle.FINALIZED)
    held = await world.scene.positions.known(*of_alice, 1)
    assert held is not None and held.observed.has_claimed and held.observed.claimed_amount > 0
    withdrawing = program.withdraw_liquidity(admin.wallet, market)
    known = await goes(withdrawing, admin.pair, "LiquidityWithdrawn", Lifecycle.FINALIZED)
    assert known.current_liquidity == 0


async def test_a_dispute_that_fails_ends_its_market_without_an_outcome(world: World) -> None:
    chain, market = world.bench.chain, await created(world, 1)
    admin, backend = chain.keys.admin, chain.keys.backend
    await world.scene.activate(market)
    chain.clock.unix_s += 1
    chain.ledger.tick()
    await chain.land(chain.program.resolve_market(admin.wallet, market, True, HASH), admin.pair)
    chain.clock.unix_s += 1
    chain.ledger.tick()
    await chain.land(chain.program.initiate_dispute(admin.wallet, market), admin.pair)
    failing = chain.program.aggregate_dispute_votes(backend.wallet, market, 1, 9)
    assert await world.event(failing, backend.pair) == "DisputeAggregated"
    known = await world.market(market)
    assert (known.state, known.final_outcome) == (Lifecycle.FINALIZED, None)
    assert known.resolved_at_s == await world.at_s()


async def test_a_market_that_is_cancelled_is_so_by_its_event(world: World) -> None:
    chain, market = world.bench.chain, await created(world, 1)
    admin = chain.keys.admin
    assert await world.event(chain.program.cancel_market(admin.wallet, market), admin.pair) == "MarketCancelled"
    known = await world.market(market)
    assert (known.state, known.cancelled_at_s) == (Lifecycle.CANCELLED, await world.at_s())


async def test_events_of_the_protocol_are_rows_of_no_market(world: World) -> None:
    chain, admin = world.bench.chain, world.bench.chain.keys.admin
    await world.bench.indexer.filler.sweep()
    change = ConfigChange(300, 200, 500, 7000, 6000, None, None)
    assert await world.event(chain.program.update_global_config(admin.wallet, change), admin.pair) == "ConfigUpdated"
    paused = await world.event(chain.program.emergency_pause(admin.wallet), admin.pair)
    assert paused == "ProtocolPauseStatusChanged"
    rows = await world.bench.rows.all("SELECT event_type, market_id FROM event_logs ORDER BY block_slot")
    protocol = ["GlobalConfigInitialized", "ConfigUpdated", "ProtocolPauseStatusChanged"]
    assert [tuple(row) for row in rows] == [(name, None) for name in protocol]
