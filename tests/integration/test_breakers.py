"""The breaker in front of a real PostgreSQL: what opens it, what does not, and what that means for everybody."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from app.breakers import Breakers
from app.config import Settings
from app.embedded import free_port
from storage.database import Database, database_pool
from storage.outages import StorageUnavailable
from storage.sessions import OperatorTokens
from tests.support.storage import PostgresGround

FAILURES, OPEN_S = 5, 60.0


@pytest.fixture
def breakers() -> Breakers:
    return Breakers(Settings(breaker_failures=FAILURES, breaker_open_s=OPEN_S))


@pytest.fixture
async def nowhere(breakers: Breakers) -> AsyncIterator[Database]:
    """Nobody listens there."""
    url = f"postgresql://nobody@127.0.0.1:{free_port()}/nothing"
    database = await database_pool(url, 1, guard=breakers.asking_database)
    yield database
    await database.close()


async def asked(database: Database) -> StorageUnavailable | None:
    try:
        await OperatorTokens(database).is_revoked("id")
    except StorageUnavailable as outage:
        return outage
    return None


async def test_after_five_failures_nobody_asks_until_one_probe_may(
    breakers: Breakers, nowhere: Database, real_ground: PostgresGround, monkeypatch: pytest.MonkeyPatch
) -> None:
    there = await database_pool(real_ground.database_url, 1, guard=breakers.asking_database)
    now_s = [1_000.0]
    monkeypatch.setattr(breakers.database, "_clock", lambda: now_s[0])
    reasons = [await asked(nowhere) for _ in range(FAILURES)]
    assert not any("not asked" in str(reason) for reason in reasons)
    assert breakers.states() == {"redis": False, "database": True}
    assert "not asked: it failed repeatedly, the next try is in 60 s" in str(await asked(there))
    now_s[0] += OPEN_S
    assert await asked(there) is None
    assert breakers.states() == {"redis": False, "database": False}
    await there.close()


async def test_errors_of_sql_are_answers(breakers: Breakers, real_ground: PostgresGround) -> None:
    there = await database_pool(real_ground.database_url, 1, guard=breakers.asking_database)
    for _ in range(2 * FAILURES):
        with pytest.raises(StorageUnavailable, match="SQLSTATE 23505"):
            await OperatorTokens(there).note("id", "", 4_000_000_000)
            await OperatorTokens(there).note("id", "", 4_000_000_000)
    assert breakers.states() == {"redis": False, "database": False}
    await there.close()


def test_a_developers_dependencies_are_asked_again_after_a_second_and_a_productions_after_a_minute() -> None:
    assert Settings().dependency_breaker_s == 1.0
    assert Settings.model_construct(env="production", breaker_open_s=None).dependency_breaker_s == 60.0
