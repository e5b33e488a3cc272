"""The chain agent's desk: checks that everything fits, sends what is planned, reads the chain for the shards.

What does not fit is neither worked around nor a reason to die: the desk waits, says what to mend, and looks again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace

import structlog

from actors.chain_agent import News
from actors.messages import ChainNews, WorkSettled
from app import clock
from app.alarmed_store import AlarmedStore
from app.config import Settings
from app.wiring import tracing_of
from app.wiring_chain import attempt_locks, chain_reader, fee_settings, rpc_pool, sender_settings, signing_keys
from chain.checks import Misfit, authority_misfits, cluster_misfits
from chain.client import ChainReader, ConfigMissing
from chain.endpoints import RpcPool
from chain.idl import UnusableIdl
from chain.keys import KeyFileError, SigningKeys
from chain.program import UndecodableAccount
from chain.rpc import ChainUnavailable, RpcRefused, Sleep
from chain.sender import Sender
from domain.intents import Settlement
from domain.journal import AlertNote
from domain.observed import ChainConfig
from storage.database import database_pool
from storage.kept_breakers import KeptBreakers
from storage.outages import StorageUnavailable
from storage.transactions import PostgresTransactionStore

CLOCK_S = 0.5
"""How often the Clock sysvar is read; decisions P6 asks for every second at least."""
CONFIG_S = 5.0
"""How often GlobalConfig is read."""
RETRY_S_MAX = 5.0
MISFIT_S = 10.0
"""How often what does not fit is looked at again, and the sentence repeated."""
POOL_MAX = 4
BREAKER_S = 1.0
"""How often the breaker of transitions is looked at, to be shown by GetHealth when it has changed."""
TRANSITIONS = "transitions"
"""Its name there."""

log = structlog.get_logger("desk")


class Desk:
    """Implements `actors.chain_agent.ChainDesk` over one set of RPC connections and one database pool.

    Outages of the chain are waited out; rows stay where they are. Any other exception ends the agent's process.
    """

    def __init__(self, settings: Settings, database_url: str, sleep: Sleep = asyncio.sleep) -> None:
        self._settings = settings
        self._database_url = database_url
        self._sleep = sleep
        self._config: ChainConfig | None = None
        self._breakers: KeptBreakers | None = None
        self._tracing = tracing_of(settings, "zmart-chain-agent")

    async def run(self, wake: asyncio.Event, publish: Callable[[News], None]) -> None:
        """Work until cancelled."""
        span = self._tracing.sql if self._tracing else None
        database = await database_pool(self._database_url, POOL_MAX, "zmart-chain-agent", span=span)
        store, self._breakers = AlarmedStore(database, self._settings), KeptBreakers(database)
        try:
            keys, reader, pool = await self._opened(store)
            try:
                await self._work(reader, pool, keys, store, wake, publish)
            finally:
                await reader.close()
        finally:
            await database.close()

    async def _work(
        self,
        reader: ChainReader,
        pool: RpcPool,
        keys: SigningKeys,
        store: PostgresTransactionStore,
        wake: asyncio.Event,
        publish: Callable[[News], None],
    ) -> None:
        await self._until_fit(store, lambda: cluster_misfits(reader, self._settings.genesis_hash))
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._watch(reader, keys, store, publish))
            tasks.create_task(pool.watch())
            # Clock and GlobalConfig are read meanwhile: votes are taken whether or not anything can be sent.
            await self._until_fit(store, lambda: authority_misfits(reader, keys))
            async with attempt_locks(self._settings, tasks) as locks:
                bounds, fees = sender_settings(self._settings), fee_settings(self._settings)
                sender = Sender(reader, keys, store, settings=bounds, fees=fees, locks=locks, spans=self._tracing)
                tasks.create_task(self._show_breaker(sender))
                await sender.run(wake, lambda settlement: _settled(settlement, publish))

    # --- what does not fit ----------------------------------------------------------------------------------------

    async def _opened(self, store: PostgresTransactionStore) -> tuple[SigningKeys, ChainReader, RpcPool]:
        """Keys and reader as the settings describe them, once they can be made."""
        while True:
            try:
                keys, pool = signing_keys(self._settings), rpc_pool(self._settings)
                asking = self._tracing.asking(pool) if self._tracing else pool
                return keys, chain_reader(self._settings, asking), pool
            except KeyFileError as fault:
                mend = "Correct ZMART_BACKEND_KEYPAIR or ZMART_ADMIN_KEYPAIR, or the file."
                misfit = Misfit("key file", str(fault), mend)
            except UnusableIdl as fault:
                misfit = Misfit("IDL file", str(fault), "Correct ZMART_IDL_FILE, or unset it to use the one shipped.")
            except ValueError:
                seen = f"{self._settings.program_id!r} is no program id"
                misfit = Misfit("program", seen, "Set ZMART_PROGRAM_ID to the base58 address of zmart_core.")
            await self._report([misfit], store)
            await self._sleep(MISFIT_S)

    async def _until_fit(
        self, store: PostgresTransactionStore, look: Callable[[], Awaitable[Sequence[Misfit]]]
    ) -> None:
        """Return once nothing fatal is found; a chain that does not answer is asked again."""
        while True:
            wait_s = MISFIT_S
            try:
                misfits = await look()
                await self._report(misfits, store)
                if not any(misfit.is_fatal for misfit in misfits):
                    return
            except (ChainUnavailable, RpcRefused, UndecodableAccount) as outage:
                wait_s = CLOCK_S
                log.warning("chain not read", error=str(outage), retry_in_s=wait_s)
            await self._sleep(wait_s)

    async def _report(self, misfits: Sequence[Misfit], store: PostgresTransactionStore) -> None:
        for misfit in misfits:
            waits = "nothing is sent until it fits" if misfit.is_fatal else "approvals wait for the admin"
            log.error("does not fit", subject=misfit.subject, seen=misfit.seen, mend=misfit.mend, consequence=waits)
            try:
                await store.raise_alert(_alert(misfit))
            except StorageUnavailable as outage:
                log.warning("alert not stored", error=str(outage))

    async def _show_breaker(self, sender: Sender) -> None:
        """Keep the breaker's state where GetHealth finds it; what could not be kept is with the next look."""
        assert self._breakers is not None
        shown = None
        while True:
            is_open = sender.holds_transitions_back
            if is_open is not shown:
                try:
                    await self._breakers.keep(TRANSITIONS, is_open)
                    shown = is_open
                except StorageUnavailable as outage:
                    log.warning("breaker not shown", error=str(outage))
            await self._sleep(BREAKER_S)

    # --- what the shards are told ---------------------------------------------------------------------------------

    async def _watch(
        self,
        reader: ChainReader,
        keys: SigningKeys,
        store: PostgresTransactionStore,
        publish: Callable[[News], None],
    ) -> None:
        """Read clock and GlobalConfig for ever; while that fails, shards carry the last reading on."""
        pause_s, config_due_s = CLOCK_S, 0.0
        while True:
            try:
                publish(ChainNews(await reader.clock(), None))
                if clock.monotonic_s() >= config_due_s:
                    await self._read_config(reader, keys, store, publish)
                    config_due_s = clock.monotonic_s() + CONFIG_S
                pause_s = CLOCK_S
            except (ChainUnavailable, RpcRefused, ConfigMissing, UndecodableAccount, StorageUnavailable) as outage:
                pause_s = min(pause_s * 2, RETRY_S_MAX)
                log.warning("chain not read", error=str(outage), retry_in_s=pause_s)
            await self._sleep(pause_s)

    async def _read_config(
        self,
        reader: ChainReader,
        keys: SigningKeys,
        store: PostgresTransactionStore,
        publish: Callable[[News], None],
    ) -> None:
        config = await reader.config(keys)
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


def _alert(misfit: Misfit) -> AlertNote:
    """One open alert for each subject, however often it is said."""
    severity = "CRITICAL" if misfit.is_fatal else "MEDIUM"
    key = f"chain_misfit:{misfit.subject}"
    return AlertNote("chain_misfit", severity, key, None, {"seen": misfit.seen, "mend": misfit.mend})


def open_desk(settings: Settings, database_url: str) -> Desk:
    """The desk as the settings describe it; nothing is opened yet."""
    return Desk(settings, database_url)
