"""A reconciliation over a real ledger, a real database and the actors' own core."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from solders.instruction import Instruction
from solders.keypair import Keypair
from solders.transaction_status import TransactionConfirmationStatus

from actors.messages import Failed, WrongOwner
from chain.account_batches import AccountBatches
from chain.accounts import ChainAccounts
from chain.client import ChainReader
from chain.history import ChainHistory
from chain.program import NEWEST_PROGRAM_ID
from chain.subscription import LogSubscription
from domain.commands import AdoptMarket, Command
from domain.ids import MarketId, Wallet
from domain.indexed import Due
from domain.market import Market
from domain.outcomes import Outcome
from domain.positions import Holding
from domain.reconciliation import SETTLE_SLOTS
from indexer.ports import MarketBroke, MarketsAway
from indexer.position_reader import PositionReader
from indexer.reconcile import Reconciler
from indexer.service import Chore, Indexer, IndexerParts
from storage.database import database_pool
from storage.index_store import PostgresIndexStore
from storage.positions import PositionTable
from storage.projections import Projections
from storage.reconciliations import Reconciliations
from storage.transactions import PostgresTransactionStore
from tests.support.eventually import eventually_async
from tests.support.indexing import FAST
from tests.support.ledger import Chain
from tests.support.shard import OneShard
from tests.support.storage import PostgresGround


@dataclass
class ShardMarkets:
    """The way to the actors, without processes between."""

    shard: OneShard

    async def submit_many(self, commands: Sequence[Command]) -> Sequence[Outcome | MarketsAway | MarketBroke]:
        """Carry out commands in one batch."""
        answers = await self.shard.send(*commands) if commands else ()
        assert not any(isinstance(answer, Failed | WrongOwner) for answer in answers)
        return answers  # type: ignore[return-value]  # the two others do not occur


@dataclass
class Reconciling:
    """Everything that a comparison needs, and the rows to bend."""

    chain: Chain
    ground: PostgresGround
    shard: OneShard
    accounts: AccountBatches
    rows: Reconciliations
    positions: PositionTable
    reader: PositionReader
    reconciler: Reconciler
    chain_reader: ChainReader

    async def adopt(self, *ids: MarketId) -> None:
        """Have markets known as the chain has them by now."""
        _, found = await self.accounts.markets(ids)
        commands = [AdoptMarket(market_id, account) for market_id, account in found.items() if account is not None]
        await ShardMarkets(self.shard).submit_many(commands)

    async def market(self, market_id: MarketId) -> Market:
        """The market as it is stored."""
        return (await self.rows.markets([market_id]))[market_id][0]

    def without_chain(self) -> Reconciler:
        """The same, with nobody at the other end."""
        reader = ChainReader.connect("http://127.0.0.1:9", NEWEST_PROGRAM_ID, sleep=_at_once)
        accounts = AccountBatches(ChainAccounts(reader.rpc, reader.program), reader.program)
        alarm = PostgresTransactionStore(self.ground.database)
        return Reconciler(self.rows, self.positions, accounts, ShardMarkets(self.shard), alarm)

    async def compared(self) -> bool:
        """Whether every row is old enough to be compared at finalized."""
        finalized = await ChainHistory(self.chain_reader.rpc, NEWEST_PROGRAM_ID).finalized_slot()
        rows = await self.ground.query(
            "SELECT (SELECT count(*) FROM positions WHERE slot < touched_slot OR slot > $1) AS young,"
            " (SELECT count(*) FROM markets WHERE observed_slot > $1) AS younger",
            finalized,
        )
        return bool(rows[0]["young"] == 0 and rows[0]["younger"] == 0)

    async def keep_trading(self, market_id: MarketId, purchases: int) -> None:
        """Take a market to Active and have one buyer after the other come, each twice."""
        program, admin, backend = self.chain.program, self.chain.keys.admin, self.chain.keys.backend
        for call, signer in (
            (program.aggregate_proposal_votes(backend.wallet, market_id, 9, 1), backend.pair),
            (program.approve_proposal(admin.wallet, market_id), admin.pair),
            (program.activate_market(admin.wallet, market_id), admin.pair),
        ):
            await self.confirmed(call, signer)
        for _ in range(purchases // 2):
            buyer = Keypair()
            await self.chain.client.request_airdrop(buyer.pubkey(), 40_000_000_000)
            await self._until_confirmed_balance(buyer)
            for outcome in (True, False):
                wallet, fee_wallet = Wallet(str(buyer.pubkey())), self.chain.keys.fee_wallet.wallet
                call = program.buy_shares(wallet, market_id, outcome, 10_000_000_000, fee_wallet)
                await self.confirmed(call, buyer)

    async def confirmed(self, call: Instruction, signer: Keypair) -> None:
        """Send one instruction and wait for its confirmation; slots pass by themselves."""
        signature = await self.chain.send(await self.chain.signed([call], signer))

        async def is_confirmed() -> bool:
            (status,) = (await self.chain.status(signature)).value
            return status is not None and status.confirmation_status != TransactionConfirmationStatus.Processed

        await eventually_async(is_confirmed)

    async def _until_confirmed_balance(self, wallet: Keypair) -> None:
        async def is_there() -> bool:
            return (await self.chain.client.get_balance(wallet.pubkey())).value > 0

        await eventually_async(is_there)

    async def bend(self, statement: str, *arguments: Any) -> None:
        """Change rows behind everybody's back; the market's owner reads them again."""
        await self.ground.query(statement, *arguments)
        await self.shard.start()

    async def discrepancies(self) -> list[tuple[Any, ...]]:
        """What is stored, oldest first."""
        rows = await self.ground.query(
            "SELECT field, database_value, chain_value, repaired FROM discrepancies ORDER BY detected_at, field"
        )
        return [tuple(row) for row in rows]

    async def suspicions(self) -> list[str]:
        """Fields that are suspected."""
        return [row["field"] for row in await self.ground.query("SELECT field FROM suspicions ORDER BY field")]

    def pass_slots(self, count: int = SETTLE_SLOTS) -> None:
        """Let slots go by on the ledger."""
        for _ in range(count):
            self.chain.ledger.tick()

    async def traded(self, market_id: MarketId, lamports: int = 10_000_000_000) -> Holding:
        """A new wallet buys; its position is marked as its event would mark it, and read."""
        buyer = await self.chain.funded(lamports * 2)
        await self.buy(market_id, buyer, lamports)
        holding = Holding(market_id, Wallet(str(buyer.pubkey())))
        await self.ground.query(
            "INSERT INTO positions (market_id, user_pubkey, touched_slot) VALUES ($1, $2, 1)", *holding
        )
        assert await self.reader.step()
        return holding

    async def buy(self, market_id: MarketId, buyer: Keypair, lamports: int) -> None:
        """Spend lamports on YES."""
        program, wallet = self.chain.program, Wallet(str(buyer.pubkey()))
        fee_wallet = self.chain.keys.fee_wallet.wallet
        await self.chain.land(program.buy_shares(wallet, market_id, True, lamports, fee_wallet), buyer)

    async def activate(self, market_id: MarketId) -> None:
        """Take a market from Proposed to Active."""
        program, admin, backend = self.chain.program, self.chain.keys.admin, self.chain.keys.backend
        await self.chain.land(program.aggregate_proposal_votes(backend.wallet, market_id, 9, 1), backend.pair)
        await self.chain.land(program.approve_proposal(admin.wallet, market_id), admin.pair)
        await self.chain.land(program.activate_market(admin.wallet, market_id), admin.pair)


async def _at_once(_: float) -> None:
    """A pause that is none."""


@asynccontextmanager
async def reconciling(chain: Chain, ground: PostgresGround) -> AsyncIterator[Reconciling]:
    """A reconciliation that runs when it is told to."""
    shard = OneShard(ground)
    await shard.start()
    reader = ChainReader.connect(chain.ledger.rpc_url, NEWEST_PROGRAM_ID)
    accounts = AccountBatches(ChainAccounts(reader.rpc, reader.program), reader.program)
    rows, positions = Reconciliations(ground.database), PositionTable(ground.database)
    alarm = PostgresTransactionStore(ground.database)
    reconciler = Reconciler(rows, positions, accounts, ShardMarkets(shard), alarm)
    position_reader = PositionReader(positions, accounts, ChainHistory(reader.rpc, NEWEST_PROGRAM_ID))
    try:
        yield Reconciling(chain, ground, shard, accounts, rows, positions, position_reader, reconciler, reader)
    finally:
        await reader.close()


@asynccontextmanager
async def indexing(scene: Reconciling, database_url: str) -> AsyncIterator[None]:
    """An indexer at work beside the comparison, as it is wired in the product, with the same actors."""
    reader = scene.chain_reader
    program_id = str(NEWEST_PROGRAM_ID)
    accounts, history = ChainAccounts(reader.rpc, reader.program), ChainHistory(reader.rpc, program_id)
    database = await database_pool(database_url, 6, "test-indexer")
    parts = IndexerParts(
        program_id=program_id,
        store=PostgresIndexStore(database, program_id),
        history=history,
        accounts=accounts,
        markets=ShardMarkets(scene.shard),
        projector=Projections(),
        subscription=LogSubscription(scene.chain.ledger.pubsub_url, program_id),
        dice=random.Random(7),
        chores=(Chore("positions", scene.reader.step, Due.POSITIONS, 0.05),),
    )
    running = asyncio.create_task(Indexer(parts, FAST).run())
    try:
        yield
        assert not running.done(), "an outage is waited out, a bug ends it"
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        await database.close()
