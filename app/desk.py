"""The chain agent's desk: sends what is planned, and reads the clock and GlobalConfig for the shards."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace

import structlog

from actors.chain_agent import News
from actors.messages import ChainNews, WorkSettled
from app import clock
from app.config import Settings
from chain.client import ChainReader, ConfigMissing
from chain.keys import SigningKeys, load_key
from chain.program import UndecodableAccount
from chain.rpc import ChainUnavailable
from chain.sender import Sender
from domain.intents import Settlement
from domain.observed import ChainConfig
from storage.database import database_pool
from storage.outages import StorageUnavailable
from storage.transactions import PostgresTransactionStore

CLOCK_S = 0.5
"""How often the Clock sysvar is read; decisions P6 asks for every second at least."""
CONFIG_S = 5.0
"""How often GlobalConfig is read."""
RETRY_S_MAX = 5.0
POOL_MAX = 4

log = structlog.get_logger("desk")


class Desk:
    """Implements `actors.chain_agent.ChainDesk` over one RPC connection pool and one database pool.

    Outages of either are waited out; rows stay where they are. Any other exception ends the agent's process.
    """

    def __init__(self, reader: ChainReader, keys: SigningKeys, database_url: str) -> None:
        self._reader = reader
        self._keys = keys
        self._database_url = database_url
        self._config: ChainConfig | None = None

    async def run(self, wake: asyncio.Event, publish: Callable[[News], None]) -> None:
        """Work until cancelled."""
        database = await database_pool(self._database_url, POOL_MAX, "zmart-chain-agent")
        store = PostgresTransactionStore(database)
        sender = Sender(self._reader, self._keys, store)
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(sender.run(wake, lambda settlement: _settled(settlement, publish)))
                tasks.create_task(self._watch(store, publish))
        finally:
            await self._reader.close()
            await database.close()

    async def _watch(self, store: PostgresTransactionStore, publish: Callable[[News], None]) -> None:
        """Read clock and GlobalConfig for ever; while that fails, shards carry the last reading on."""
        pause_s, config_due_s = CLOCK_S, 0.0
        while True:
            try:
                publish(ChainNews(await self._reader.clock(), None))
                if clock.monotonic_s() >= config_due_s:
                    await self._read_config(store, publish)
                    config_due_s = clock.monotonic_s() + CONFIG_S
                pause_s = CLOCK_S
            except (ChainUnavailable, ConfigMissing, UndecodableAccount, StorageUnavailable) as outage:
                pause_s = min(pause_s * 2, RETRY_S_MAX)
                log.warning("chain not read", error=str(outage), retry_in_s=pause_s)
            await asyncio.sleep(pause_s)

    async def _read_config(self, store: PostgresTransactionStore, publish: Callable[[News], None]) -> None:
        config = await self._reader.config(self._keys)
        if self._config is not None and replace(config, slot=self._config.slot) == self._config:
            return
        await store.save_config(config)
        self._config = config
        log.info("GlobalConfig", may_aggregate=config.may_aggregate, may_approve=config.may_approve)
        publish(ChainNews(None, config))


def _settled(settlement: Settlement, publish: Callable[[News], None]) -> None:
    intent = settlement.intent
    log.info("settled", market_id=intent.market_id, action=intent.action, status=settlement.status.value)
    publish(WorkSettled())


def signing_keys(settings: Settings) -> SigningKeys:
    """The keys this backend signs with; raises KeyFileError for one that cannot be used."""
    admin = settings.admin_key_path
    return SigningKeys(load_key(settings.backend_key_path), load_key(admin) if admin is not None else None)


def open_desk(settings: Settings, database_url: str) -> Desk:
    """The desk as the settings describe it."""
    return Desk(ChainReader.connect(settings.rpc_url, settings.program_id), signing_keys(settings), database_url)
