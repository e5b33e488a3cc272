"""A real Valkey of one test, which the test may kill and start again on the same port."""

import asyncio
import os
import signal
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import redis.asyncio

from app.embedded import EmbeddedValkey
from app.exec_child import guarded
from app.runner import NotReady
from tests.support.eventually import eventually_async


class ValkeyServer:
    """The embedded server as a child of pytest; what it held is gone when it stops."""

    def __init__(self, folder: Path) -> None:
        self._embedded = EmbeddedValkey(folder)
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """For any client; the same after a restart."""
        return self._embedded.url

    async def start(self) -> None:
        """Start, and return once it answers."""
        self._process = self._spawn()
        await eventually_async(self._answers)

    async def kill(self) -> None:
        """SIGKILL; returns with the process gone."""
        if self._process is not None:
            self._process.kill()
            await asyncio.to_thread(self._process.wait)
            self._process = None

    def freeze(self) -> None:
        """SIGSTOP: connections open and nobody answers."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def client(self) -> redis.asyncio.Redis:
        """A client of the test's own; the test closes it."""
        return redis.asyncio.Redis.from_url(self.url, decode_responses=True)

    def _spawn(self) -> subprocess.Popen[bytes]:
        role = self._embedded.role()
        role.prepare(os.environ)
        argv = guarded(role.argv, signal.SIGKILL)
        return subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    async def _answers(self) -> bool:
        try:
            await self._embedded.health()
        except (NotReady, OSError):
            return False
        return True


@pytest.fixture
async def valkey(tmp_path: Path) -> AsyncIterator[ValkeyServer]:
    """A running server of this test alone."""
    server = ValkeyServer(tmp_path / "valkey")
    await server.start()
    try:
        yield server
    finally:
        await server.kill()
