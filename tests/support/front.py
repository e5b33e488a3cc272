"""An Envoy with the project's configuration, and a port where a test puts its own server."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import httpx

from app.embedded import EmbeddedEnvoy, Endpoint, free_port
from app.embedded.envoy import STREAM_IDLE_TIMEOUT_S
from app.runner import Runner
from tests.support.eventually import eventually
from tests.support.log_lines import json_lines

LOOPBACK = "127.0.0.1"
FLUSH_MS = 20
"""Lines wait up to ten seconds otherwise."""


@dataclass(frozen=True)
class Front:
    """Where Envoy listens, and where it looks for the servers behind it."""

    envoy: EmbeddedEnvoy
    grpc_port: int
    bridge_port: int
    logs_dir: Path

    @property
    def url(self) -> str:
        return self.envoy.url

    @property
    def target(self) -> str:
        """For native gRPC."""
        return self.url.removeprefix("http://")

    def access_log(self) -> list[dict[str, Any]]:
        """The lines so far."""
        return json_lines(self._log)

    def log_with(self, answers: Sequence[httpx.Response]) -> str:
        """All that Envoy wrote, once the lines of these answers are in it: it writes them out a moment later."""
        wanted = {answer.headers["x-request-id"] for answer in answers}
        eventually(lambda: wanted <= {line.get("request_id") for line in self.access_log()})
        return self._log.read_text()

    @property
    def _log(self) -> Path:
        return self.logs_dir / "envoy.log"


@contextmanager
def running_front(
    folder: Path, stream_idle_timeout_s: int = STREAM_IDLE_TIMEOUT_S, grpc_port: int | None = None
) -> Iterator[Front]:
    grpc_port, bridge_port = grpc_port or free_port(), free_port()
    behind = Endpoint(LOOPBACK, grpc_port), Endpoint(LOOPBACK, bridge_port)
    envoy = EmbeddedEnvoy(folder / "data", *behind, stream_idle_timeout_s=stream_idle_timeout_s)
    runner = Runner(f"test-{uuid.uuid4()}", folder / "logs")
    runner.start(replace(envoy.role(), argv=envoy.argv("--file-flush-interval-msec", str(FLUSH_MS))))
    try:
        yield Front(envoy, grpc_port, bridge_port, folder / "logs")
    finally:
        runner.stop()
