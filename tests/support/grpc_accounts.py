"""The chain's accounts for a gRPC server of a test, in memory."""

from __future__ import annotations

import asyncio

from domain.ids import MarketId, Wallet
from domain.observed import ObservedMarket, ObservedPosition
from tests.support.grpc_events import START_S


class Positions:
    """What wallets hold; counts reads, and `gate` holds them back."""

    def __init__(self) -> None:
        self.held: dict[tuple[MarketId, Wallet], ObservedPosition] = {}
        self.reads: list[tuple[MarketId, Wallet, int]] = []
        self.outage: Exception | None = None
        self.gate = asyncio.Event()
        self.gate.set()
        self.reading = 0
        self.reading_max = 0

    def put(self, market_id: MarketId, wallet: Wallet, shares_yes: int, shares_no: int, slot: int = 77) -> None:
        held = ObservedPosition(Wallet(market_id), wallet, slot, shares_yes, shares_no, 0, 1, START_S, False, 0)
        self.held[market_id, wallet] = held

    async def position(self, market_id: MarketId, wallet: Wallet, min_slot: int) -> ObservedPosition | None:
        self.reads.append((market_id, wallet, min_slot))
        self.reading += 1
        self.reading_max = max(self.reading_max, self.reading)
        try:
            await self.gate.wait()
            if self.outage is not None:
                raise self.outage
            return self.held.get((market_id, wallet))
        finally:
            self.reading -= 1


class Accounts:
    """The chain's markets; counts reads, and `gate` holds them back."""

    def __init__(self) -> None:
        self.accounts: dict[MarketId, ObservedMarket] = {}
        self.reads: list[MarketId] = []
        self.outage: Exception | None = None
        self.gate = asyncio.Event()
        self.gate.set()
        self.reading = 0
        self.reading_max = 0

    def put(self, account: ObservedMarket) -> None:
        self.accounts[account.market_id] = account

    async def market(self, market_id: MarketId) -> ObservedMarket | None:
        self.reads.append(market_id)
        self.reading += 1
        self.reading_max = max(self.reading_max, self.reading)
        try:
            await self.gate.wait()
            if self.outage is not None:
                raise self.outage
            return self.accounts.get(market_id)
        finally:
            self.reading -= 1
