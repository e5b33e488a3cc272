"""How the feed is joined: outbox to stream (notifier), stream to browsers (bridge)."""

from __future__ import annotations

import asyncio
import random
import re
import uuid
from collections.abc import AsyncIterator, Coroutine, Iterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

from app import clock
from app.config import Settings
from app.identities import tokens
from app.schedule import CronSchedule
from app.voting_progress import VotingProgress
from app.wiring import database_url, redis_url, tracing_of
from app.wiring_chain import chain_reader
from domain.ids import MarketId
from identity import Caller, Denial, Tokens
from storage.bridges import BridgeOrders
from storage.database import database_pool
from storage.outbox import OutboxReader
from storage.reads import MarketReads
from storage.tallies import TallyReads
from storage.tally_cache import TallyCache
from storage.tally_projector import TallyProjector
from ws_bridge.admission import AdmissionLimits
from ws_bridge.feed import RedisFeed
from ws_bridge.orders import take_orders
from ws_bridge.ports import OutboxRow
from ws_bridge.relay import Relay
from ws_bridge.server import Bridge, BridgeSettings
from ws_bridge.session import Limits

PRUNE_S = 60.0
LOOPBACK_ORIGINS = (re.compile(r"https?://(localhost|127\.0\.0\.1|\[::1\])(:\d+)?"),)
NOTIFIER_POOL = 3


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
    tracing = tracing_of(settings, "zmart-bridge")
    reads, reader = MarketReads(database), chain_reader(settings)
    bridge = Bridge(
        bridge_settings(settings),
        RedisFeed(redis_url(settings), is_traced=tracing is not None),
        reads,
        BridgeTokens(tokens(settings)),
        clock.wall_s,
        random.SystemRandom(),
        VotingProgress(reads, reader, CronSchedule(settings.aggregation_cron), clock.monotonic_s),
        tracing,
    )
    await bridge.start()
    orders = BridgeOrders(database, database_url(settings), str(uuid.uuid4()))
    owner = asyncio.current_task()
    failing = asyncio.create_task(_end_with(bridge.failed(), owner))
    obeying = asyncio.create_task(_end_with(take_orders(bridge, orders), owner))
    try:
        yield bridge
    finally:
        failing.cancel()
        obeying.cancel()
        await bridge.stop(grace_s)
        await orders.close()
        await reader.close()
        await database.close()
        if tracing:
            await tracing.close()


def bridge_settings(settings: Settings) -> BridgeSettings:
    """What operators can set of a bridge."""
    rate = settings.limit_ws_messages_per_s
    return BridgeSettings(
        host=settings.host,
        port=settings.ports.bridge,
        origins=settings.ws_origins or LOOPBACK_ORIGINS,
        admission=AdmissionLimits(
            connections_max=settings.limit_ws_connections,
            per_address_max=settings.limit_ws_per_address,
            per_wallet_max=settings.limit_ws_per_wallet,
            accepts_per_s=settings.limit_ws_accepts_per_s,
        ),
        proxies=settings.proxies,
        backlog_bytes_max=settings.ws_backlog_bytes,
        behind_max_s=settings.ws_backlog_s,
        frame_bytes_max=settings.limit_ws_frame_bytes,
        tick_s=settings.ws_tick_ms / 1_000,
        shares_port=settings.bridges > 1,
        limits=Limits(channels_max=settings.limit_ws_channels, messages_per_s=rate, messages_burst=2 * rate),
    )


async def _end_with(work: Coroutine[Any, Any, None], owner: asyncio.Task[object] | None) -> None:
    try:
        await work
    except Exception:
        if owner is not None:
            owner.cancel()
        raise


async def run_notifier(settings: Settings, stop: asyncio.Event) -> None:
    """Carry committed messages into the stream and tallies into their cache until `stop`, and forget old messages."""
    url, tracing = database_url(settings), tracing_of(settings, "zmart-notifier")
    database = await database_pool(url, NOTIFIER_POOL, "zmart-notifier", span=tracing.sql if tracing else None)
    outbox = OutboxReader(database, url)
    cache = TallyCache(redis_url(settings))
    projector = TallyProjector(TallyReads(database), cache)
    relay = Relay(
        outbox, redis_url(settings), on_carried=lambda rows: projector.changed(_voted_on(rows)), spans=tracing
    )
    try:
        async with asyncio.TaskGroup() as tasks:
            beside = [tasks.create_task(projector.run()), tasks.create_task(_prune(outbox))]
            await relay.run(stop)
            for task in beside:
                task.cancel()
    finally:
        await cache.close()
        await outbox.close()
        await database.close()
        if tracing:
            await tracing.close()


def _voted_on(rows: Sequence[OutboxRow]) -> Iterator[MarketId]:
    """The markets whose tallies these messages tell of."""
    for row in rows:
        kind, _, market_id = row.channel.partition("_")
        if row.votes_seq is not None or kind == "votes":  # the latter were written by the version before 0025
            yield MarketId(market_id)


async def _prune(outbox: OutboxReader) -> None:
    while True:
        await asyncio.sleep(PRUNE_S)
        try:
            while await outbox.prune():
                pass
        except OSError:  # the relay says so already, and the next turn tries again
            continue
