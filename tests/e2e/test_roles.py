"""The roles of docker-compose.yml as processes of this machine, with the same commands, environment and secrets."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from app.config import Settings
from app.embedded import free_port_base
from app.exec_child import guarded
from app.identities import receipts, tokens
from app.readiness import Probes
from app.runner import NotReady
from tests.support.eventually import eventually
from tests.support.valkey import ValkeyServer

ROOT = Path(__file__).parents[2]
SERVICES: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
ROLES = {n: each for n, each in SERVICES.items() if each["image"].startswith("zmart-backend") and "command" in each}
DEFAULT = re.compile(r"\$\{\w+:-([^}]*)\}")
FIRST_METRICS_PORT = 9464
START_S_MAX = 150.0
"""For all roles together: they share the processors with whatever else runs here."""
STOP_S_MAX = 30.0
pytestmark = pytest.mark.long  # forty seconds of processor time


class Place:
    """Where the containers' paths and addresses are on this machine."""

    def __init__(self, folder: Path, database_url: str, redis_url: str) -> None:
        self.base, self.data_dir, self.secrets = free_port_base(32), folder / "data", folder / "secrets"
        self.data_dir.mkdir()
        self.secrets.mkdir()
        for make in (tokens, receipts):  # token.pem and receipt.pem
            make(Settings(data_dir=self.data_dir))
        texts = {"database_url": database_url, "redis_url": redis_url, "service_keys": "k" * 40}
        for name, text in {**texts, "webhook_secrets": "w" * 40}.items():
            (self.secrets / f"zmart_{name}").write_text(text)

    def environment(self, role: str) -> dict[str, str]:
        """The role's own variables as compose fills them in, but for addresses, ports and files."""
        given = {
            key: DEFAULT.sub(r"\1", value)
            for key, value in ROLES[role]["environment"].items()
            if value is not None  # passed on where it is set
        }
        if metrics := given.get("ZMART_METRICS_PORT"):
            given["ZMART_METRICS_PORT"] = str(self.base + 20 + int(metrics) - FIRST_METRICS_PORT)
        bare = {key: value for key, value in os.environ.items() if not key.startswith(("ZMART_", "PROMETHEUS_"))}
        return bare | given | self._replaced()

    def _replaced(self) -> dict[str, str]:
        return {
            "ZMART_DATA_DIR": str(self.data_dir),
            "ZMART_PORT_BASE": str(self.base),
            "ZMART_SECRETS_DIR": str(self.secrets),
            "ZMART_SOLANA_RPC_URL": f"http://127.0.0.1:{self.base + 4}",
            "ZMART_BACKEND_KEYPAIR": str(self.data_dir / "ledger" / "keys" / "backend.json"),
            "ZMART_TOKEN_KEY": str(self.data_dir / "token.pem"),
            "ZMART_RECEIPT_KEY": str(self.data_dir / "receipt.pem"),
        }

    def is_ready(self, role: str) -> bool:
        """What its health check asks, asked in this process: one for each look would keep the roles from theirs."""
        with pytest.MonkeyPatch.context() as patch:
            for name, value in self.environment(role).items():
                patch.setenv(name, value)
            settings = Settings()
        (*_, kind) = probe_of(role)
        with contextlib.suppress(NotReady, OSError):
            getattr(Probes(settings, self.data_dir), kind)()
            return True
        return False


def zmart(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "app", *arguments]


def probe_of(role: str) -> list[str]:
    """Its health check's command, after `CMD zmart`."""
    return list(ROLES[role]["healthcheck"]["test"][2:])


@contextlib.contextmanager
def running(command: Sequence[str], env: Mapping[str, str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    with log.open("wb") as out:
        process = subprocess.Popen(guarded(zmart(*command), signal.SIGTERM), env=env, cwd=ROOT, stderr=out, stdout=out)
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(STOP_S_MAX)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def wait_till_ready(place: Place, started: Mapping[str, subprocess.Popen[bytes]], folder: Path) -> None:
    """Wait for each of them; one that ends shows its last words."""
    for role, process in started.items():

        def ready(role: str = role, process: subprocess.Popen[bytes] = process) -> bool:
            assert process.poll() is None, f"{role} ended: {(folder / f'{role}.log').read_text()[-2000:]}"
            return place.is_ready(role)

        eventually(ready, timeout_s=START_S_MAX)


def test_every_role_starts_as_compose_starts_it_and_the_whole_calls_itself_healthy(
    tmp_path: Path, database_url: str, valkey: ValkeyServer
) -> None:
    place = Place(tmp_path, database_url, valkey.url)
    started: dict[str, subprocess.Popen[bytes]] = {}
    with contextlib.ExitStack() as stack:

        def start(role: str) -> None:
            command, log = ROLES[role]["command"], tmp_path / f"{role}.log"
            started[role] = stack.enter_context(running(command, place.environment(role), log))

        start("ledger")
        subprocess.run(
            zmart(*ROLES["migrate"]["command"]), env=place.environment("migrate"), cwd=ROOT, check=True, timeout=120
        )
        wait_till_ready(place, started, tmp_path)
        for role in ROLES.keys() - {"ledger", "migrate"}:
            start(role)
        wait_till_ready(place, started, tmp_path)
        front = f"http://127.0.0.1:{place.base}"
        eventually(lambda: httpx.get(f"{front}/health", timeout=20).json().get("status") == "healthy", timeout_s=60)
        for role in ("actors", "grpc"):  # a process that asks, and nothing but its answer: two stand for all
            probe = zmart(*probe_of(role))
            subprocess.run(probe, env=place.environment(role), cwd=ROOT, check=True, timeout=60)
        assert all(process.poll() is None for process in started.values())
