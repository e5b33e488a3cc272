"""Valkey as our own child: behind a password, bounded, and without a trace on the disk."""

import uuid
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import redis.asyncio
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import AuthenticationError

from app.embedded import EmbeddedValkey
from app.runner import Runner


@pytest.fixture
def valkey(tmp_path: Path) -> Iterator[EmbeddedValkey]:
    runner = Runner(f"test-{uuid.uuid4()}", tmp_path / "logs")
    valkey = EmbeddedValkey(tmp_path / 'data with a "quoted" name')
    runner.start(valkey.role())
    yield valkey
    runner.stop()


@pytest.fixture
async def client(valkey: EmbeddedValkey) -> AsyncIterator["redis.asyncio.Redis"]:
    client = redis.asyncio.from_url(valkey.url, decode_responses=True)
    yield client
    await client.aclose()


async def test_it_keeps_what_it_is_told(client: "redis.asyncio.Redis") -> None:
    await client.set("key", "value")
    assert await client.get("key") == "value"


async def test_nobody_enters_without_the_password(valkey: EmbeddedValkey) -> None:
    stranger = redis.asyncio.Redis(host="127.0.0.1", port=valkey.port, retry=Retry(NoBackoff(), 0))
    with pytest.raises(AuthenticationError):
        await stranger.ping()
    await stranger.aclose()


async def test_full_it_forgets_only_what_ends_anyway(client: "redis.asyncio.Redis") -> None:
    assert await client.config_get("maxmemory*") == {
        "maxmemory": str(256 * 1024 * 1024),
        "maxmemory-policy": "volatile-lru",
        "maxmemory-samples": "5",
        "maxmemory-eviction-tenacity": "10",
        "maxmemory-clients": "0",
    }


async def test_nothing_of_its_content_is_written_to_disk(client: "redis.asyncio.Redis", valkey: EmbeddedValkey) -> None:
    await client.set("key", "value")
    assert await client.config_get("save", "appendonly") == {"save": "", "appendonly": "no"}
    assert [path.name for path in (valkey.data_dir / "valkey").iterdir()] == ["valkey.conf"]
    assert (valkey.data_dir / "valkey" / "valkey.conf").stat().st_mode & 0o777 == 0o600
