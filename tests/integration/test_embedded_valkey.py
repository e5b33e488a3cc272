"""Valkey as our own child: behind a password, bounded, and without a trace on the disk."""

import signal
import subprocess
import uuid
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import redis.asyncio
import yaml
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import AuthenticationError

from app.embedded import EmbeddedValkey, free_port
from app.exec_child import guarded
from app.runner import Runner
from tests.support.eventually import eventually_async

ROOT = Path(__file__).parents[2]


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


@pytest.fixture
def contained(valkey: EmbeddedValkey, tmp_path: Path) -> Iterator[tuple[int, subprocess.Popen[bytes]]]:
    """The command of docker-compose.yml, with this machine's server and file in the places of the container's."""
    (line,) = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]["redis"]["command"]
    (tmp_path / "password").write_text("of-the-file")
    port = free_port()
    command = line.replace("$$", "$").replace("/run/secrets/redis_password", str(tmp_path / "password"))
    command = command.replace("valkey-server -", f"{valkey.role().argv[0]} - --bind 127.0.0.1 --port {port}", 1)
    process = subprocess.Popen(guarded(["sh", "-c", command], signal.SIGKILL), stdout=subprocess.DEVNULL, cwd=tmp_path)
    yield port, process
    process.kill()
    process.wait()


async def test_the_containers_command_reads_its_password_from_a_file_and_shows_it_to_nobody(
    contained: tuple[int, subprocess.Popen[bytes]],
) -> None:
    port, process = contained
    client = redis.asyncio.Redis(port=port, password="of-the-file", retry=Retry(NoBackoff(), 0), decode_responses=True)
    stranger = redis.asyncio.Redis(port=port, retry=Retry(NoBackoff(), 0))

    async def answers() -> bool:
        assert process.poll() is None
        try:
            return bool(await client.ping())
        except redis.exceptions.ConnectionError:
            return False

    await eventually_async(answers)
    with pytest.raises(AuthenticationError):
        await stranger.ping()
    assert b"of-the-file" not in Path(f"/proc/{process.pid}/cmdline").read_bytes()
    assert await client.config_get("save", "maxmemory-policy") == {"save": "", "maxmemory-policy": "volatile-lru"}
    await client.aclose()
    await stranger.aclose()
