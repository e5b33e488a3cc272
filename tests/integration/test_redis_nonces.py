"""Nonces in a real Valkey: bound to their address, each good once, and none of them stays for ever."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from app.breakers import Breakers
from app.config import Settings
from app.identities import challenges
from domain.ids import Wallet
from identity import Challenge, Denial
from storage import redis_nonces
from storage.nonces import NonceStore
from storage.outages import StorageUnavailable
from storage.redis_nonces import RedisNonces
from tests.support.grpc_parts import Person
from tests.support.storage import PostgresGround
from tests.support.valkey import ValkeyServer

ONE, OTHER = Wallet("one"), Wallet("other")


@pytest.fixture
async def nonces(valkey: ValkeyServer, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[RedisNonces]:
    """A machine that stands for half a second is no outage here."""
    monkeypatch.setattr(redis_nonces, "ANSWER_S_MAX", 60.0)
    store = RedisNonces(valkey.url)
    yield store
    await store.close()


def soon_s() -> int:
    return int(time.time()) + 600


async def test_of_many_who_take_a_nonce_at_once_one_gets_it(nonces: RedisNonces) -> None:
    await nonces.put("n", ONE, "sign this", soon_s())
    taken = await asyncio.gather(*(nonces.take("n", ONE) for _ in range(20)))
    assert [message for message in taken if message] == ["sign this"]


async def test_another_address_leaves_a_nonce_to_its_owner_and_it_ends_by_itself(
    nonces: RedisNonces, valkey: ValkeyServer
) -> None:
    await nonces.put("n", ONE, "sign this", soon_s())
    assert await nonces.take("n", OTHER) is None
    async with valkey.client() as client:
        (key,) = [key async for key in client.scan_iter("*")]
        assert 590 < await client.ttl(key) <= 600
    assert await nonces.take("n", ONE) == "sign this"
    await nonces.put("late", ONE, "sign this", int(time.time()) - 1)
    assert await nonces.take("late", ONE) is None


async def test_a_store_that_is_away_says_so(nonces: RedisNonces, valkey: ValkeyServer) -> None:
    await valkey.kill()
    with pytest.raises(StorageUnavailable):
        await nonces.put("n", ONE, "sign this", soon_s())
    with pytest.raises(StorageUnavailable):
        await nonces.take("n", ONE)


async def test_wallets_sign_in_with_and_without_redis_each_challenge_once(
    nonces: RedisNonces, valkey: ValkeyServer, real_ground: PostgresGround, tmp_path: Path
) -> None:
    settings = Settings(data_dir=tmp_path)
    desk = challenges(settings, nonces, NonceStore(real_ground.database), Breakers(settings))
    for is_there in (True, False):
        if not is_there:
            await valkey.kill()
        person = Person()
        issued = await desk.issue(person.wallet)
        assert isinstance(issued, Challenge)
        answer = (person.wallet, issued.message, person.sign(issued.message))
        answers = await asyncio.gather(*(desk.redeem(*answer) for _ in range(10)))
        assert sorted(answers, key=str) == [Denial.NONCE_UNKNOWN] * 9 + [None]
