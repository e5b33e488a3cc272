"""A whole system for end-to-end tests: one `zmart up` for the session, and one of its own for tests that break it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import grpc
import pytest
from solders.keypair import Keypair

from app.clock import wall_s
from app.config import Settings
from app.demo.doors import Doors, SignedIn
from app.demo.run import far_from_grid, running_system
from app.identities import tokens
from domain.ids import MarketId, Wallet, base58_encode
from identity import Tier

FAST = {"ZMART_SLOT_MS": "100", "ZMART_LOG_LEVEL": "info", **far_from_grid(wall_s())}
"""Slots of 100 ms: a confirmation takes a fifth of a second. The grid comes when a test moves the clock (`GRID_S`)."""


@dataclass(frozen=True)
class RunningSystem:
    """Where everything is, and the folder it lives in."""

    connection: Mapping[str, Any]
    data_dir: Path

    @contextlib.asynccontextmanager
    async def doors(self) -> AsyncIterator[Doors]:
        """The public doors, for one test."""
        async with (
            grpc.aio.insecure_channel(self.connection["grpc_target"]) as channel,
            aiohttp.ClientSession() as http,
        ):
            yield Doors(self.connection, channel, http)

    def token(self, pair: Keypair) -> SignedIn:
        """A wallet that is signed in already, by a token minted with the system's own key."""
        issued = tokens(Settings(data_dir=self.data_dir)).issue(Wallet(str(pair.pubkey())), Tier.WALLET)
        return SignedIn(pair, issued.token)


def new_market_id() -> MarketId:
    return MarketId(base58_encode(bytes(Keypair().pubkey())))


async def create_markets(doors: Doors, ids: Sequence[MarketId]) -> None:
    """Create markets on the ledger, each by a creator of its own."""
    await asyncio.gather(*(doors.create_market(Keypair(), market_id, b"q" * 46) for market_id in ids))


@pytest.fixture(scope="session")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningSystem]:
    """One system that tests share; they make their own markets and wallets and break nothing."""
    data_dir = tmp_path_factory.mktemp("system")
    with running_system(data_dir, FAST) as connection:
        yield RunningSystem(connection, data_dir)


@pytest.fixture
def own_system(tmp_path: Path) -> Iterator[RunningSystem]:
    """A system for one test, which may break it."""
    with running_system(tmp_path, FAST) as connection:
        yield RunningSystem(connection, tmp_path)
