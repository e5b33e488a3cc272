"""The breakers of dependencies: what opens them, what does not, and what those are told who are refused meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest
from google.rpc import error_details_pb2 as details
from grpc.aio import AioRpcError
from prometheus_client import REGISTRY

from app.breakers import Breakers
from app.config import Settings
from app.embedded import free_port
from app.identities import Nonces
from app.wiring_grpc import Accounts, Book
from chain.client import ChainReader
from chain.endpoints import PoolSettings, RpcPool
from chain.program import ZmartProgram
from chain.rpc import Rpc, RpcSettings
from grpc_server import AccountsUnavailable
from identity import NonceStoreUnavailable
from storage.database import Database, database_pool
from storage.inbox import Inbox
from storage.outages import StorageUnavailable
from storage.reads import MarketReads
from storage.redis_nonces import RedisNonces
from storage.sessions import OperatorTokens
from tests.support.grpc_parts import PROGRAM_ID, Person, failure_of, market_id_of, served
from tests.support.storage import PostgresGround
from zmart.v1.market_service_pb2 import ListMarketsRequest
from zmart.v1.market_service_pb2_grpc import MarketServiceStub

FAILURES, OPEN_S = 5, 60.0
NAMES = ("redis", "database", "inbox")
CLOSED = dict.fromkeys(NAMES, False)


@pytest.fixture
def breakers() -> Breakers:
    return Breakers(Settings(breaker_failures=FAILURES, breaker_open_s=OPEN_S))


@pytest.fixture
def now_s(breakers: Breakers, monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time of the breakers, to be moved."""
    now_s = [1_000.0]
    monkeypatch.setattr(breakers.database, "_clock", lambda: now_s[0])
    monkeypatch.setattr(breakers.redis, "_clock", lambda: now_s[0])
    return now_s


@pytest.fixture
async def nowhere(breakers: Breakers) -> AsyncIterator[Database]:
    """Nobody listens there."""
    url = f"postgresql://nobody@127.0.0.1:{free_port()}/nothing"
    database = await database_pool(url, 1, guard=breakers.asking_database)
    yield database
    await database.close()


def shown() -> dict[str, bool]:
    """The breakers as Prometheus sees them."""
    values = {name: REGISTRY.get_sample_value("zmart_dependency_breaker_open", {"dependency": name}) for name in NAMES}
    return {name: bool(value) for name, value in values.items() if value is not None}


async def asked(database: Database) -> StorageUnavailable | None:
    try:
        await OperatorTokens(database).is_revoked("id")
    except StorageUnavailable as outage:
        return outage
    return None


async def test_after_five_failures_nobody_asks_until_one_probe_may(
    breakers: Breakers, nowhere: Database, real_ground: PostgresGround, now_s: list[float]
) -> None:
    there = await database_pool(real_ground.database_url, 1, guard=breakers.asking_database)
    reasons = [await asked(nowhere) for _ in range(FAILURES)]
    assert not any("not asked" in str(reason) for reason in reasons)
    assert breakers.states() == {**CLOSED, "database": True} == shown()
    assert "not asked: it failed repeatedly, the next try is in 60 s" in str(await asked(there))
    now_s[0] += OPEN_S
    assert await asked(there) is None
    assert breakers.states() == CLOSED == shown()
    await there.close()


async def test_the_inbox_is_asked_while_other_reads_wait_in_vain_for_a_connection(
    breakers: Breakers, nowhere: Database, real_ground: PostgresGround
) -> None:
    inbox_database = await database_pool(real_ground.database_url, 1, guard=breakers.asking_inbox)
    for _ in range(FAILURES):
        assert await asked(nowhere) is not None
    assert breakers.states() == {**CLOSED, "database": True}
    assert await Inbox(inbox_database).put(b"[]") > 0
    await inbox_database.close()


async def test_errors_of_sql_are_answers(breakers: Breakers, real_ground: PostgresGround) -> None:
    there = await database_pool(real_ground.database_url, 1, guard=breakers.asking_database)
    for _ in range(2 * FAILURES):
        with pytest.raises(StorageUnavailable, match="SQLSTATE 23505"):
            await OperatorTokens(there).note("id", "", 4_000_000_000)
            await OperatorTokens(there).note("id", "", 4_000_000_000)
    assert breakers.states() == CLOSED
    await there.close()


async def test_a_call_that_an_open_breaker_refuses_is_told_how_long_it_stays_open(
    breakers: Breakers, nowhere: Database, now_s: list[float]
) -> None:
    book = Book(MarketReads(nowhere), lambda _: None)
    async with served(around=lambda parts: replace(parts, book=book)) as running:

        async def told() -> tuple[str, float, str]:
            with pytest.raises(AioRpcError) as refused:
                await MarketServiceStub(running.channel).ListMarkets(ListMarketsRequest())
            failure, trailers = failure_of(refused.value), dict(refused.value.trailing_metadata())
            delay = failure.detail(details.RetryInfo).retry_delay
            return failure.info.reason, delay.ToMilliseconds() / 1_000, str(trailers["retry-after"])

        asked = [await told() for _ in range(FAILURES)]
        assert set(asked) == {("DATABASE_UNAVAILABLE", 1.0, "1")}, "nobody knows how long it lasts"
        assert await told() == ("DATABASE_UNAVAILABLE", 60.0, "60")
        now_s[0] += 17.5
        assert await told() == ("DATABASE_UNAVAILABLE", 42.5, "43")


async def test_who_cannot_sign_in_while_redis_is_not_asked_is_told_for_how_long(
    breakers: Breakers, now_s: list[float]
) -> None:
    redis = RedisNonces(f"redis://127.0.0.1:{free_port()}/0")
    nonces = Nonces(redis, breakers.asking_redis)
    waits = []
    for _ in range(FAILURES + 1):
        with pytest.raises(NonceStoreUnavailable) as refused:
            await nonces.take("nonce", Person().wallet)
        waits.append(refused.value.retry_after_s)
        now_s[0] += 1.5
    assert waits == [None] * FAILURES + [58.5]
    await redis.close()


async def test_who_needs_the_chain_while_no_endpoint_is_asked_is_told_for_how_long() -> None:
    now_s = [1_000.0]
    rpc = Rpc(RpcSettings(f"http://127.0.0.1:{free_port()}"))
    settings = PoolSettings(breaker_failures_max=FAILURES, breaker_open_s=OPEN_S)
    pool = RpcPool([rpc], settings, clock=lambda: now_s[0], sleep=lambda _: asyncio.sleep(0))
    reader = ChainReader(pool, ZmartProgram.at(PROGRAM_ID))
    while not pool.endpoints[0].breaker.is_open:
        with pytest.raises(AccountsUnavailable) as refused:
            await Accounts(reader).market(market_id_of(1))
        assert refused.value.retry_after_s is None
    now_s[0] += 20.0
    with pytest.raises(AccountsUnavailable) as refused:
        await Accounts(reader).market(market_id_of(1))
    assert refused.value.retry_after_s == 40.0
    await reader.close()


def test_a_developers_dependencies_are_asked_again_after_a_second_and_a_productions_after_a_minute() -> None:
    assert Settings().dependency_breaker_s == 1.0
    assert Settings.model_construct(env="production", breaker_open_s=None).dependency_breaker_s == 60.0
