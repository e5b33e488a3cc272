"""The chain agent's desk: sends what is planned, and reads the clock and GlobalConfig for the shards."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import structlog

from actors.chain_agent import News
from actors.messages import ChainNews, WorkSettled
from app import clock
from app.config import Settings
from chain.client import ChainReader, ChainUnavailable
from chain.keys import SigningKeys
from chain.sender import Sender
from domain.intents import Settlement
from domain.observed import ChainConfig
from storage.transactions import PostgresTransactionStore

CLOCK_S = 0.5
"""How often the Clock sysvar is read; decisions P6 asks for every second at least."""
CONFIG_S = 5.0
"""How often GlobalConfig is read."""
RETRY_S_MAX = 5.0

log = structlog.get_logger("desk")


class Desk:
    """Implements `actors.chain_agent.ChainDesk` over one RPC connection pool and one database pool."""

    def __init__(self, reader: ChainReader, keys: SigningKeys, sender: Sender, store: PostgresTransactionStore) -> None:
        self._reader = reader
        self._keys = keys
        self._sender = sender
        self._store = store
        self._config: ChainConfig | None = None

    async def run(self, wake: asyncio.Event, publish: Callable[[News], None]) -> None:
        """Work until cancelled."""

        def settled(settlement: Settlement) -> None:
            log.info("settled", market_id=settlement.intent.market_id, status=settlement.status.value)
            publish(WorkSettled())

        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._sender.run(wake, settled))
            tasks.create_task(self._watch(publish))

    async def _watch(self, publish: Callable[[News], None]) -> None:
        """Read clock and GlobalConfig for ever; an outage of the RPC is waited out, its news stops the chain timers."""
        pause_s, config_due_s = CLOCK_S, 0.0
        while True:
            try:
                publish(ChainNews(await self._reader.clock(), None))
                if clock.monotonic_s() >= config_due_s:
                    await self._read_config(publish)
                    config_due_s = clock.monotonic_s() + CONFIG_S
                pause_s = CLOCK_S
            except ChainUnavailable as outage:
                pause_s = min(pause_s * 2, RETRY_S_MAX)
                log.warning("chain unavailable", error=str(outage), retry_in_s=pause_s)
            await asyncio.sleep(pause_s)

    async def _read_config(self, publish: Callable[[News], None]) -> None:
        config = await self._reader.config(self._keys)
        if config is None or config == self._config:
            return
        await self._store.save_config(config)
        self._config = config
        publish(ChainNews(None, config))
