"""A sender on rows of its own, before a real ledger with slots by hand and a proxy that breaks what a test names."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from solana.rpc.commitment import Confirmed

from chain.client import ChainReader
from chain.keys import SigningKeys
from chain.ports import AttemptLocks
from chain.sender import Sender
from chain.sender_settings import SenderSettings
from domain.ids import MarketId
from domain.intents import Action, Intent, IntentStatus, Settlement
from domain.observed import ObservedMarket
from storage.memory_tables import Attempt, MemoryDatabase
from storage.transactions import MemoryTransactionStore
from tests.support.ledger import Chain
from tests.support.rpc_proxy import RpcProxy, rpc_proxy

INTENT_ID = "00000000-0000-0000-0000-000000000001"
STEPS_MAX = 400


class Crash(Exception):
    """The process died here."""


class CrashingStore(MemoryTransactionStore):
    """The in-memory rows, with a death before or after one kind of write."""

    def __init__(self, database: MemoryDatabase) -> None:
        super().__init__(database)
        self.crash: tuple[str, str] | None = None
        self.signatures: list[str] = []

    async def _around(self, name: str, write: Any) -> None:
        if self.crash == ("before", name):
            self.crash = None
            write.close()
            raise Crash
        await write
        if self.crash == ("after", name):
            self.crash = None
            raise Crash

    async def mark_signed(
        self,
        intent_id: str,
        raw: bytes,
        signature: str,
        blockhash: str,
        last_valid_block_height: int,
        fee_lamports: int = 0,
    ) -> None:
        write = super().mark_signed(intent_id, raw, signature, blockhash, last_valid_block_height, fee_lamports)
        await self._around("mark_signed", write)
        self.signatures.append(signature)

    async def mark_sent(self, intent_id: str) -> None:
        await self._around("mark_sent", super().mark_sent(intent_id))

    async def mark_confirmed(self, intent_id: str, slot: int, observed: ObservedMarket | None) -> None:
        await self._around("mark_confirmed", super().mark_confirmed(intent_id, slot, observed))


@dataclass
class Bench:
    """A sender on rows of its own, before a ledger whose slots go by hand."""

    chain: Chain
    proxy: RpcProxy
    market: MarketId
    database: MemoryDatabase = field(default_factory=MemoryDatabase)
    now_s: float = 0.0
    slept: list[float] = field(default_factory=list)
    locks: AttemptLocks | None = None

    def __post_init__(self) -> None:
        self.store = CrashingStore(self.database)
        self.settlements: list[Settlement] = []
        self.readers: list[ChainReader] = []
        self.sender = self.restarted()

    def restarted(self, keys: SigningKeys | None = None) -> Sender:
        """A new process: nothing is remembered but the rows."""
        reader = ChainReader.connect(
            self.proxy.url, self.chain.ledger.settings.program_id, sleep=self.sleep, clock=lambda: self.now_s
        )
        self.readers.append(reader)
        self.sender = Sender(
            reader,
            keys or self.chain.signing_keys,
            self.store,
            settings=SenderSettings(idle_s=3600.0),
            locks=self.locks,
            clock=lambda: self.now_s,
            sleep=self.sleep,
        )
        return self.sender

    async def sleep(self, seconds: float) -> None:
        """Time passes only when somebody sleeps; a slot goes by with every 0.4 s."""
        self.slept.append(seconds)
        if seconds >= 3600:
            await asyncio.Event().wait()
        self.now_s += seconds
        self.chain.ledger.tick()
        await asyncio.sleep(0)

    def plan(self, action: Action = Action.AGGREGATE_PROPOSAL, yes: int = 7, no: int = 3) -> Intent:
        """Store a new intent."""
        tally = (yes, no) if action is Action.AGGREGATE_PROPOSAL else (0, 0)
        number = len(self.database.tables.attempts) + 1
        intent = Intent(f"{INTENT_ID[:-1]}{number}", self.market, action, number, *tally)
        self.database.tables.attempts[intent.intent_id] = Attempt(intent)
        return intent

    def row(self, intent: Intent) -> Attempt:
        return self.database.tables.attempts[intent.intent_id]

    async def step(self) -> Settlement | None:
        """One step with the one open row, if there is one."""
        rows = await self.store.open_transactions(10)
        return await self.sender.advance(rows[0]) if rows else None

    async def until_settled(self, pause_s: float = 0.4) -> Settlement:
        """Step, letting time pass, until the open row has ended."""
        for _ in range(STEPS_MAX):
            settlement = await self.step()
            if settlement is not None:
                return settlement
            if pause_s:
                await self.sleep(pause_s)
        raise AssertionError("never settled")

    async def until_sent(self, intent: Intent) -> None:
        while self.row(intent).status is not IntentStatus.SENT:
            await self.step()

    async def executions(self) -> list[str]:
        """Signatures of transactions of ours that changed the market, creation aside."""
        address = self.chain.program.market_address(self.market)[0]
        self.chain.ledger.tick()
        found = (await self.chain.client.get_signatures_for_address(address, commitment=Confirmed)).value
        return [str(item.signature) for item in found if item.err is None][:-1]

    async def likes(self) -> int:
        return self.chain.program.market(self.market, await self.chain.data(self.market), 0).proposal_likes

    async def close(self) -> None:
        for reader in self.readers:
            await reader.close()


@pytest.fixture
async def bench(chain: Chain) -> AsyncIterator[Bench]:
    async with rpc_proxy(chain.ledger.rpc_url) as proxy:
        opened = Bench(chain, proxy, await chain.create_market())
        yield opened
        await opened.close()


@contextlib.asynccontextmanager
async def running(bench: Bench) -> AsyncIterator[asyncio.Event]:
    """`Sender.run` in the background."""
    wake = asyncio.Event()
    task = asyncio.create_task(bench.sender.run(wake, bench.settlements.append))
    try:
        yield wake
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
