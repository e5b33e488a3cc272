"""An indexer in this process over a real database and a ledger whose slots go by hand; its markets decide for real."""

from __future__ import annotations

import json
import random
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import asyncpg
from solders.instruction import Instruction
from solders.keypair import Keypair

from chain.accounts import ChainAccounts
from chain.client import ChainReader
from chain.history import ChainHistory
from chain.ledger.webhooks import raw_webhook
from chain.program import NEWEST_PROGRAM_ID
from chain.subscription import LogSubscription
from domain.commands import Command
from domain.decisions import decide
from domain.ids import MarketId
from domain.market import Market, evolve
from domain.outcomes import Done, Outcome
from domain.rules import Now, Rules
from indexer.ports import MarketBroke, MarketsAway, NoProjection, OpenTransaction, Projector
from indexer.service import Indexer, IndexerParts, IndexerSettings
from storage.database import database_pool
from storage.index_store import PostgresIndexStore
from tests.support.ledger import Chain

FAST = IndexerSettings(workers=1, idle_s=0.01, sweep_s=0.05, settle_s=0.02)


class EveryFiveMinutes:
    """The grid of the specification."""

    def next_after(self, unix_s: int) -> int:
        return unix_s - unix_s % 300 + 300


@dataclass
class DecidingMarkets:
    """Markets with the domain's own rules, and nothing around them."""

    markets: dict[MarketId, Market] = field(default_factory=dict)
    commands: list[Command] = field(default_factory=list)
    away: int = 0
    """Commands that are not answered, counted down."""
    broken: bool = False

    bug: bool = False
    """Whether submitting meets a bug of ours."""

    async def submit_many(self, commands: Sequence[Command]) -> Sequence[Outcome | MarketsAway | MarketBroke]:
        if self.bug:
            raise ValueError("a bug of ours")
        return [self._submit(command) for command in commands]

    def _submit(self, command: Command) -> Outcome | MarketsAway | MarketBroke:
        if self.away:
            self.away -= 1
            return MarketsAway("nobody home")
        if self.broken:
            return MarketBroke("incident")
        self.commands.append(command)
        rules = Rules(None, EveryFiveMinutes(), 10)
        market = self.markets.get(command.market_id)
        decided = decide(market, command, rules, Now(0, 0, lambda: "id"))
        if not isinstance(decided, tuple):
            return decided
        for event in decided:
            market = evolve(market, event)
        assert market is not None
        self.markets[command.market_id] = replace(market, version=market.version + 1)
        return Done(market.version + 1)


class Rows:
    """Looks into the tables."""

    def __init__(self, url: str) -> None:
        self.url = url

    async def all(self, query: str, *arguments: Any) -> list[Any]:
        connection = await asyncpg.connect(self.url)
        try:
            return list(await connection.fetch(query, *arguments))
        finally:
            await connection.close()

    async def one(self, query: str, *arguments: Any) -> Any:
        """The first column of the only row."""
        ((value,),) = await self.all(query, *arguments)
        return value


@dataclass
class Bench:
    """An indexer with its surroundings."""

    chain: Chain
    store: PostgresIndexStore
    markets: DecidingMarkets
    rows: Rows
    indexer: Indexer
    parts: IndexerParts

    async def put(self, *bodies: bytes) -> None:
        """Bodies into the inbox, as the webhook's receiver does."""
        for body in bodies:
            await self.rows.all("INSERT INTO webhook_inbox (source, body) VALUES ('webhook', $1)", body)

    async def work(self) -> None:
        """Work the inbox off and let the markets hear."""
        while await self.indexer.worker.step():
            pass
        await self.hear()

    async def hear(self) -> None:
        """Let the markets hear what is due."""
        while await self.indexer.herald.step():
            pass

    async def events(self) -> list[tuple[Any, ...]]:
        """Every event in the order of the chain, without what depends on when and by whom it was brought."""
        rows = await self.rows.all(
            "SELECT transaction_signature, event_index, event_hash, block_slot, block_index, block_time, event_type,"
            " market_id, user_pubkey, event_data, raw, fault, timestamp FROM event_logs"
            " ORDER BY block_slot, block_index, event_index"
        )
        return [tuple(row) for row in rows]

    def body(self, slot: int | None = None) -> bytes:
        """The webhook of one slot, the newest confirmed one if none is named."""
        bank = self.chain.ledger.node.bank
        wanted = bank.settled("confirmed").slot if slot is None else slot
        return raw_webhook(bank.receipts(wanted))

    async def landed(self, instruction: Instruction, *signers: Keypair) -> tuple[str, bytes]:
        """Land an instruction; its signature and the webhook that tells of it."""
        signature = str(await self.chain.land(instruction, *signers))
        slot = self.chain.ledger.node.bank.settled("confirmed").slot
        return signature, self.body(slot)


@asynccontextmanager
async def open_bench(
    chain: Chain,
    database_url: str,
    projector: Projector | None = None,
    settings: IndexerSettings = FAST,
    markets: DecidingMarkets | None = None,
) -> AsyncIterator[Bench]:
    """An indexer that does nothing by itself until it is run."""
    database = await database_pool(database_url, 6, "test-indexer")
    reader = ChainReader.connect(chain.ledger.rpc_url, NEWEST_PROGRAM_ID)
    deciding = markets or DecidingMarkets()
    parts = IndexerParts(
        program_id=str(NEWEST_PROGRAM_ID),
        store=PostgresIndexStore(database, NEWEST_PROGRAM_ID),
        history=ChainHistory(reader.rpc, NEWEST_PROGRAM_ID),
        accounts=ChainAccounts(reader.rpc, reader.program),
        markets=deciding,
        projector=projector or NoProjection(),
        subscription=LogSubscription(chain.ledger.pubsub_url, NEWEST_PROGRAM_ID),
        dice=random.Random(7),
    )
    store = parts.store
    assert isinstance(store, PostgresIndexStore)
    try:
        yield Bench(chain, store, deciding, Rows(database_url), Indexer(parts, settings), parts)
    finally:
        await reader.close()
        await database.close()


def as_items(body: bytes) -> list[dict[str, Any]]:
    """The items of a webhook, to be bent."""
    items: list[dict[str, Any]] = json.loads(body)
    return items


__all__ = ["FAST", "Bench", "DecidingMarkets", "OpenTransaction", "Rows", "as_items", "open_bench"]
