"""The parts of the chain package as the settings describe them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from app.config import Settings
from chain.client import ChainReader
from chain.endpoints import PoolSettings, RpcPool
from chain.fees import FeeSettings
from chain.idl import load_interface
from chain.keys import SigningKeys, load_key
from chain.ports import AttemptLocks, Unlocked
from chain.program import ZmartProgram
from chain.rpc import Asking, Rpc, RpcSettings
from chain.sender_settings import SenderSettings
from storage.attempt_locks import AttemptLocks as RedisLocks


def signing_keys(settings: Settings) -> SigningKeys:
    """The keys this backend signs with; raises KeyFileError for one that cannot be used."""
    admin = settings.admin_key_path
    return SigningKeys(load_key(settings.backend_key_path), load_key(admin) if admin is not None else None)


def rpc_pool(settings: Settings) -> RpcPool:
    """Every endpoint in the settings."""
    pool = PoolSettings(
        genesis_hash=settings.genesis_hash,
        breaker_failures_max=settings.breaker_failures,
        breaker_open_s=settings.rpc_breaker_s,
    )
    return RpcPool([Rpc(RpcSettings(url)) for url in settings.rpc_urls], pool)


def chain_reader(settings: Settings, pool: Asking | None = None) -> ChainReader:
    """A reader of every endpoint in the settings; raises ValueError for a program id that is none, or UnusableIdl."""
    interface = load_interface(settings.idl_file) if settings.idl_file is not None else None
    program = ZmartProgram.at(settings.program_id, interface)
    return ChainReader(pool or rpc_pool(settings), program)


def sender_settings(settings: Settings) -> SenderSettings:
    """When transitions wait for the chain to be well again; the rest is as the sender has it."""
    return SenderSettings(
        transition_failures_max=settings.transition_breaker_failures,
        transition_open_s=settings.transition_breaker_open_s,
    )


def fee_settings(settings: Settings) -> FeeSettings:
    """The caps on fees."""
    return FeeSettings(settings.priority_fee_lamports_max, settings.fee_lamports_per_day)


@asynccontextmanager
async def attempt_locks(settings: Settings, tasks: asyncio.TaskGroup) -> AsyncIterator[AttemptLocks]:
    """The locks of attempts in Redis, renewed by one of `tasks`; none where no Redis is set."""
    if settings.redis_url is None:
        yield Unlocked()
        return
    locks = RedisLocks(settings.redis_url)
    renewing = tasks.create_task(locks.run())
    try:
        yield locks
    finally:
        renewing.cancel()
        await locks.close()
