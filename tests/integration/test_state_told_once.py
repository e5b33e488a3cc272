"""A change of state comes by webhook, subscription and sweep, in any order or at once; its market tells it once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, replace

import pytest
from solders.instruction import Instruction
from solders.keypair import Keypair

from domain.feed import market_channel
from domain.ids import MarketId
from domain.indexed import WantedTransaction
from indexer.service import Indexer
from storage.projections import Projections
from tests.support.indexing import FAST, Bench, open_bench
from tests.support.ledger import Chain
from tests.support.reconciling import ShardMarkets
from tests.support.rpc_calls import result
from tests.support.shard import OneShard
from tests.support.stage import HASH, SOL
from tests.support.storage import PostgresGround

ACTIVATED = [("PROPOSED", "APPROVED"), ("APPROVED", "ACTIVE")]
ENDED = [("ACTIVE", "RESOLVING"), ("RESOLVING", "DISPUTED")]


@dataclass
class World:
    """An indexer, the market's actor and the one market of the chain."""

    bench: Bench
    ground: PostgresGround
    market: MarketId
    trader: Keypair

    async def land(self, call: Instruction, pair: Keypair) -> str:
        """Let a call land and a second pass."""
        signature = str(await self.bench.chain.land(call, pair))
        self.bench.chain.clock.unix_s += 1
        return signature

    async def by_webhook(self, signature: str) -> None:
        """Twice, as Helius does when an answer comes late."""
        bank = self.bench.chain.ledger.node.bank
        body = self.bench.body(bank.settled("confirmed").slot)
        assert signature in body.decode()
        await self.bench.put(body, body)
        while await self.bench.indexer.worker.step():
            pass

    async def by_subscription(self, signature: str) -> None:
        """As a hint, which is read from a node where the transaction is not known yet."""
        async with self.bench.store.transaction() as opened:
            await opened.want([WantedTransaction(signature, 1, "subscription")], 0)
        while await self.bench.indexer.fetcher.step():
            pass

    async def by_sweep(self, signature: str) -> None:
        """With the history of the program."""
        await self.bench.indexer.filler.sweep()

    async def told(self) -> list[tuple[str, str]]:
        """Every change of the market's state that clients were told, as old and new."""
        messages = await self.ground.outbox()
        mine = [what for at, _, kind, what in messages if (at, kind) == (market_channel(self.market), "STATE_CHANGED")]
        return [(what["old_state"], what["new_state"]) for what in mine]


@pytest.fixture
async def world(chain: Chain, database_url: str, real_ground: PostgresGround) -> AsyncIterator[World]:
    """A market in PROPOSED that its actor knows, with every vote that it needs."""
    shard = OneShard(real_ground)
    await shard.start()
    async with open_bench(chain, database_url, Projections()) as bench:
        bench.indexer = Indexer(replace(bench.parts, markets=ShardMarkets(shard)), FAST)
        trader, market, backend = await chain.funded(2_000 * SOL), await chain.create_market(), chain.keys.backend
        await chain.land(chain.program.aggregate_proposal_votes(backend.wallet, market, 9, 0), backend.pair)
        await bench.indexer.filler.sweep()
        await bench.hear()
        yield World(bench, real_ground, market, trader)


async def to_active(world: World) -> AsyncIterator[str]:
    """Two changes of state, each as the signature that made it."""
    program, admin = world.bench.chain.program, world.bench.chain.keys.admin
    yield await world.land(program.approve_proposal(admin.wallet, world.market), admin.pair)
    yield await world.land(program.activate_market(admin.wallet, world.market), admin.pair)


async def to_disputed(world: World) -> AsyncIterator[str]:
    """And two more."""
    chain = world.bench.chain
    program, admin = chain.program, chain.keys.admin
    yield await world.land(program.resolve_market(admin.wallet, world.market, True, HASH), admin.pair)
    yield await world.land(program.initiate_dispute(admin.wallet, world.market), admin.pair)


Source = Callable[[World, str], Awaitable[None]]
ORDERS: list[tuple[Source, Source, Source]] = [
    (World.by_webhook, World.by_subscription, World.by_sweep),
    (World.by_subscription, World.by_sweep, World.by_webhook),
    (World.by_sweep, World.by_webhook, World.by_subscription),
]


@pytest.mark.parametrize("order", ORDERS, ids=["webhook first", "subscription first", "sweep first"])
async def test_whoever_brings_it_first_a_change_of_state_is_told_once(world: World, order: Sequence[Source]) -> None:
    async for signature in to_active(world):
        for bring in order:
            await bring(world, signature)
            await world.bench.hear()
    assert await world.told() == ACTIVATED
    rows = await world.bench.rows.all("SELECT transaction_signature, event_index FROM event_logs")
    assert len(rows) == len(set(map(tuple, rows))) == 5, "the configuration, the market, its tally and two changes"


async def test_all_three_at_once_are_one_message_for_each_change(world: World) -> None:
    herald = world.bench.indexer.herald
    for changes in (to_active, to_disputed):
        async for signature in changes(world):
            await asyncio.gather(*(bring(world, signature) for bring in ORDERS[0]), herald.step())
            await asyncio.gather(*(herald.step() for _ in range(4)))
            await world.bench.hear()
    await world.bench.indexer.filler.sweep()
    await world.bench.hear()
    assert await world.told() == ACTIVATED + ENDED


async def test_a_change_that_was_dropped_with_its_slot_is_corrected_once(world: World) -> None:
    changes = to_active(world)
    await world.by_webhook(await anext(changes))
    await world.bench.hear()
    chain, rows = world.bench.chain, world.bench.rows
    slot = await rows.one("SELECT block_slot FROM event_logs WHERE event_type = 'ProposalApproved'")
    await result(chain, "zmart_setFault", "drop_slot", {"slot": slot, "count": 1})
    chain.ledger.tick(70)
    for _ in range(2):
        while await world.bench.indexer.promoter.step():
            pass
        await world.bench.hear()
    assert await world.told() == [("PROPOSED", "APPROVED"), ("APPROVED", "PROPOSED")]
    found = await rows.all("SELECT event_type FROM event_logs WHERE commitment = 'dropped'")
    assert [row["event_type"] for row in found] == ["ProposalApproved"]
