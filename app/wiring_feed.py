"""How the feed is joined: outbox to stream (notifier), stream to browsers (bridge)."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from app import clock
from app.config import Settings
from app.identities import tokens
from app.wiring import database_url, redis_url
from identity import Caller, Denial, Tokens
from storage.database import database_pool
from storage.outbox import OutboxReader
from storage.reads import MarketReads
from ws_bridge.feed import RedisFeed
from ws_bridge.relay import Relay
from ws_bridge.server import Bridge, BridgeSettings

PRUNE_S = 60.0
NOTIFIER_POOL = 2


class BridgeTokens:
    """Adapts identity's tokens to the bridge's port: a denial becomes a ValueError, and only wallets may subscribe."""

    def __init__(self, tokens: Tokens) -> None:
        self._tokens = tokens

    def verify(self, token: str) -> BridgeCaller:
        """The caller; raises ValueError with the denial's name."""
        caller = self._tokens.verify(token)
        if isinstance(caller, Denial):
            raise ValueError(caller.name)
        if caller.wallet is None or caller.expires_at_s is None:
            raise ValueError("not a wallet's token")
        return BridgeCaller(caller)


class BridgeCaller:
    """A wallet and the end of its token, as the bridge wants them."""

    def __init__(self, caller: Caller) -> None:
        assert caller.wallet is not None
        assert caller.expires_at_s is not None
        self.wallet: str = caller.wallet
        self.expires_at_s: int = caller.expires_at_s


@asynccontextmanager
async def running_bridge(settings: Settings, grace_s: float) -> AsyncIterator[Bridge]:
    """A bridge over Redis and PostgreSQL; a bug in its feed ends the process, and its runner starts another one."""
    database = await database_pool(database_url(settings), settings.database_pool, "zmart-bridge")
    bridge = Bridge(
        BridgeSettings(host=settings.host, port=settings.ports.bridge, origins=settings.ws_origins or None),
        RedisFeed(redis_url(settings)),
        MarketReads(database),
        BridgeTokens(tokens(settings)),
        clock.wall_s,
        random.SystemRandom(),
    )
    await bridge.start()
    failing = asyncio.create_task(_end_with(bridge, asyncio.current_task()))
    try:
        yield bridge
    finally:
        failing.cancel()
        await bridge.stop(grace_s)
        await database.close()


async def _end_with(bridge: Bridge, owner: asyncio.Task[object] | None) -> None:
    try:
        await bridge.failed()
    except Exception:
        if owner is not None:
            owner.cancel()
        raise


async def run_notifier(settings: Settings, stop: asyncio.Event) -> None:
    """Carry committed messages into the stream until `stop`, and forget old ones."""
    url = database_url(settings)
    database = await database_pool(url, NOTIFIER_POOL, "zmart-notifier")
    outbox = OutboxReader(database, url)
    relay = Relay(outbox, redis_url(settings))
    pruning = asyncio.create_task(_prune(outbox))
    try:
        await relay.run(stop)
    finally:
        pruning.cancel()
        await outbox.close()
        await database.close()


async def _prune(outbox: OutboxReader) -> None:
    while True:
        await asyncio.sleep(PRUNE_S)
        try:
            while await outbox.prune():
                pass
        except OSError:  # the relay says so already, and the next turn tries again
            continue
