"""`zmart up`: the whole system on one machine, with embedded twins of everything that is not configured."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import fcntl
import json
import os
import secrets
import signal
import socket
import sys
import threading
import urllib.request
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TextIO
from urllib.parse import urlsplit

import asyncpg
import click
import grpc
import structlog
from grpc_health.v1 import health_pb2, health_pb2_grpc
from rich.console import Console
from rich.table import Table

from alerts.rules import UnusableRules, read_rules
from app import clock
from app.config import Settings
from app.embedded import DataDirectoryUnusable, EmbeddedEnvoy, EmbeddedPostgres, EmbeddedValkey, Endpoint
from app.identities import service_keys, tokens, webhook_secrets
from app.roles import INDEXER_STATUS_FILE
from app.roles_actors import STATUS_FILE
from app.runner import TICK_S, NotReady, Role, RoleEnded, Runner, StartAborted, StartFailed
from app.wiring import database_url
from identity import OPERATOR_TTL_S, Tier
from storage.migrate import MigrationsDiffer, migrate
from storage.outages import StorageUnavailable

log = structlog.get_logger("up")
CONNECTION_FILE = "connection.json"
LOCK_FILE = "up.lock"
WEBHOOK_PATH = "/webhooks/events"
PROBE_S = 1.0
REFRESH_S = 1.0
"""How often connection.json follows pids that changed."""
START_S_MAX = 60.0
STOP_S_MAX = 15.0


def run(settings: Settings) -> int:
    """Start everything, print where it is, heal until SIGINT or SIGTERM, and stop everything; returns the status."""
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    system = System(settings.model_copy(update={"run_id": settings.run_id or secrets.token_hex(8)}), stop)
    try:
        system.start()
        announce(system.connection)
        system.watch(stop)
    except StartAborted:
        return 0
    except FAILURES as failure:
        click.echo(str(failure), err=True)
        return 1
    finally:
        system.stop()
    return 0


class System:
    """The roles of one `zmart up`, in the order in which they need each other. Main thread only."""

    def __init__(self, settings: Settings, stop: threading.Event | None = None) -> None:
        """`stop` is obeyed while the roles start, too."""
        self.settings = settings
        self.data_dir = settings.data_dir.absolute()
        self.data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.runner = Runner(settings.run_id, self.data_dir / "logs", aborting=stop)
        self.connection: dict[str, Any] = {}
        self._env: dict[str, str] = {}
        self._lock: TextIO | None = None

    def start(self) -> None:
        """Start and wait for every role, then write connection.json; `stop` clears up.

        Raises StartFailed, or StartAborted when told to stop meanwhile.
        """
        self._lock = hold(self.data_dir / LOCK_FILE)
        self._refuse_taken_ports()
        read_rules(self.settings.alert_rules)  # whoever starts the system hears of it, not a log
        (self.data_dir / CONNECTION_FILE).unlink(missing_ok=True)
        database_url, redis_url = self._database(), self._redis()
        self._env = self._environment(database_url, redis_url)
        asyncio.run(migrate(database_url))
        if self.settings.solana_rpc_url is None:
            self.runner.start(self._role("ledger", self._ledger_ready, argv=("ledger",)))
        (self.data_dir / STATUS_FILE).unlink(missing_ok=True)
        self.runner.start(self._role("actors", self._actors_ready))
        # Before those whom it forwards to, so that it stops after them: calls in flight through it are answered.
        self.runner.start(self._envoy().role())
        self.runner.start(self._role("grpc", self._grpc_ready))
        self.runner.start(self._role("notifier", lambda: None))
        self.runner.start(self._role("alerts", lambda: None))
        self.runner.start(self._role("bridge", self._bridge_ready))
        self.runner.start(self._role("indexer", self._indexer_ready))
        if self.settings.solana_rpc_url is None:
            self._register_webhook()
        self.connection = self._connection(database_url, redis_url)
        self._write_connection()

    def watch(self, stop: threading.Event) -> None:
        """Heal until `stop`; connection.json follows the pids."""
        looked_at_s = 0.0
        while not stop.wait(TICK_S):
            self.runner.heal()
            if clock.monotonic_s() - looked_at_s > REFRESH_S:
                looked_at_s = clock.monotonic_s()
                self._follow_pids()

    def stop(self) -> None:
        """Stop every role, in reverse order."""
        self.runner.stop()
        if self._lock is not None:
            (self.data_dir / CONNECTION_FILE).unlink(missing_ok=True)
            self._lock.close()

    def _refuse_taken_ports(self) -> None:
        """Before anything starts: a probe that met a stranger's server would call our own role ready."""
        host = self.settings.host
        for name, port in dataclasses.asdict(self.settings.ports).items():
            if name.startswith("ledger") and self.settings.solana_rpc_url is not None:
                continue  # no ledger of ours; a validator may well listen there
            with socket.socket() as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # TIME_WAIT keeps no port
                try:
                    probe.bind((host, port))
                except OSError as error:
                    raise PortTaken(name, host, port) from error

    # --- parts ----------------------------------------------------------------------------------------------------

    def _database(self) -> str:
        if self.settings.database_url is not None:
            return self.settings.database_url
        postgres = EmbeddedPostgres(self.data_dir)
        self.runner.start(postgres.role())
        return postgres.url

    def _redis(self) -> str:
        if self.settings.redis_url is not None:
            return self.settings.redis_url
        valkey = EmbeddedValkey(self.data_dir)
        self.runner.start(valkey.role())
        return valkey.url

    def _envoy(self) -> EmbeddedEnvoy:
        host, ports = self.settings.host, self.settings.ports
        return EmbeddedEnvoy(
            self.data_dir,
            grpc=Endpoint(host, ports.grpc),
            bridge=Endpoint(host, ports.bridge),
            listen=Endpoint(host, ports.envoy),
            admin_port=ports.envoy_admin,
        )

    def _role(self, name: str, ready: Callable[[], None], argv: Sequence[str] = ()) -> Role:
        command = [sys.executable, "-m", "app", *(argv or ("serve", name))]
        return Role(name, command, ready, env=self._env, start_timeout_s=START_S_MAX, stop_timeout_s=STOP_S_MAX)

    def _environment(self, database_url: str, redis_url: str) -> dict[str, str]:
        """What the roles are told; everything else they read from the same environment as this process."""
        told = {
            "ZMART_DATA_DIR": str(self.data_dir),
            "ZMART_DATABASE_URL": database_url,
            "ZMART_REDIS_URL": redis_url,
        }
        ports = dataclasses.asdict(self.settings.ports)
        return told | {f"ZMART_{name.upper()}_PORT": str(port) for name, port in ports.items()}

    # --- readiness ------------------------------------------------------------------------------------------------

    def _ledger_ready(self) -> None:
        if self._ask_ledger("getHealth").get("result") != "ok":
            raise NotReady("the ledger is not healthy yet")

    def _ask_ledger(self, method: str, *params: str) -> dict[str, Any]:
        body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": list(params)}).encode()
        headers = {"content-type": "application/json"}
        request = urllib.request.Request(self.settings.rpc_url, body, headers)  # noqa: S310  # our own http URL
        with urllib.request.urlopen(request, timeout=PROBE_S) as response:  # noqa: S310
            answer: dict[str, Any] = json.load(response)
        return answer

    def _register_webhook(self) -> None:
        """Have the local ledger post to our front door, as Helius would; without it the sweep finds everything."""
        url = f"http://{self._at('envoy')}{WEBHOOK_PATH}"
        try:
            answer = self._ask_ledger("zmart_setWebhook", url, webhook_secrets(self.settings)[0])
        except OSError as error:
            answer = {"error": str(error)}
        if "error" in answer:
            log.warning("webhook not registered", error=answer["error"])

    def _indexer_ready(self) -> None:
        status = _read_status(self.data_dir / INDEXER_STATUS_FILE)
        if status.get("run_id") != self.settings.run_id or not _is_alive(status["pid"]):
            raise NotReady("the indexer is not up yet")

    def _actors_ready(self) -> None:
        if _read_status(self.data_dir / STATUS_FILE).get("run_id") != self.settings.run_id:
            raise NotReady("the actor tree is not up yet")

    def _grpc_ready(self) -> None:
        with grpc.insecure_channel(self._grpc_target) as channel:
            try:
                health = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=PROBE_S)
            except grpc.RpcError as error:
                raise NotReady(str(error.code())) from error
        if health.status != health_pb2.HealthCheckResponse.SERVING:
            raise NotReady("not serving yet")

    def _bridge_ready(self) -> None:
        with urllib.request.urlopen(f"http://{self._at('bridge')}/healthz", timeout=PROBE_S):
            pass

    # --- what is written down -------------------------------------------------------------------------------------

    def _at(self, name: str) -> str:
        return f"{self.settings.host}:{getattr(self.settings.ports, name)}"

    @property
    def _grpc_target(self) -> str:
        return self._at("grpc")

    def _connection(self, database_url: str, redis_url: str) -> dict[str, Any]:
        """The contract's connection.json; secrets included, hence its mode."""
        settings = self.settings
        admin = settings.admin_key_path
        return {
            "envoy_url": f"http://{self._at('envoy')}",
            "grpc_target": self._grpc_target,
            "ws_url": f"ws://{self._at('bridge')}/ws",
            "metrics_url": f"http://{self._at('metrics')}/metrics",
            "rpc_url": settings.rpc_url,
            "rpc_ws_url": f"ws://{self._at('ledger_pubsub')}",
            "database_url": database_url,
            "redis_url": redis_url,
            "program_id": settings.program_id,
            "service_key": service_keys(settings)[0],
            "operator_token": tokens(settings).issue(None, Tier.ADMIN, OPERATOR_TTL_S).token,
            "webhook_secret": webhook_secrets(settings)[0],
            "admin_keypair": str(admin.absolute()) if admin else None,
            "backend_keypair": str(settings.backend_key_path.absolute()),
            "run_id": settings.run_id,
            "pids": self._pids(),
        }

    def _write_connection(self) -> None:
        write_private(self.data_dir / CONNECTION_FILE, json.dumps(self.connection, indent=2))

    def _follow_pids(self) -> None:
        """A disk that is full for a moment must not end what runs: the next look writes again."""
        try:
            self._refresh_pids()
        except OSError as error:
            log.warning("connection.json not written", error=str(error))

    def _refresh_pids(self) -> None:
        pids = self._pids()
        if pids != self.connection["pids"]:
            self.connection["pids"] = pids
            self._write_connection()

    def _pids(self) -> dict[str, list[int]]:
        """Pids by role; the actor tree's own come from its status file and from the table of owners."""
        tree = _read_status(self.data_dir / STATUS_FILE)
        pids = {"up": [os.getpid()], **self.runner.pids()}
        pids |= {name: [tree[name]] for name in ("launcher", "admin", "supervisor") if name in tree}
        try:
            pids["shard"] = asyncio.run(shard_pids(self._env["ZMART_DATABASE_URL"]))
        except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, TimeoutError):
            pids["shard"] = []  # the database is away; the next look tells
        return pids


class PortTaken(Exception):
    """Somebody else listens where one of our parts should."""

    def __init__(self, name: str, host: str, port: int) -> None:
        super().__init__(f"{host}:{port} ({name}) is taken: stop who listens there, or give another --port-base")


class DataDirTaken(Exception):
    """Another `zmart up` works in this data dir."""

    def __init__(self, path: Path, holder: str) -> None:
        super().__init__(f"another zmart up (pid {holder}) works in {path.parent}: stop it, or give another --data-dir")


def hold(path: Path) -> TextIO:
    """Take the data dir for this process until it ends, however it ends; raises DataDirTaken when another has it."""
    lock = path.open("a+")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        lock.seek(0)
        holder = lock.read().strip() or "unknown"
        lock.close()
        raise DataDirTaken(path, holder) from error
    lock.truncate(0)
    lock.write(str(os.getpid()))
    lock.flush()
    return lock


FAILURES = (
    StartFailed,
    RoleEnded,
    DataDirTaken,
    PortTaken,
    MigrationsDiffer,
    StorageUnavailable,
    DataDirectoryUnusable,
    UnusableRules,
)
"""What ends `zmart up` with a sentence instead of a traceback."""


async def shard_pids(database_url: str) -> list[int]:
    """The processes that own virtual shards."""
    connection = await asyncpg.connect(database_url, timeout=PROBE_S, command_timeout=PROBE_S)
    try:
        rows = await connection.fetch("SELECT DISTINCT pid FROM virtual_shards WHERE pid IS NOT NULL ORDER BY pid")
    finally:
        await connection.close(timeout=PROBE_S)
    return [row["pid"] for row in rows]


def read_connection(data_dir: Path) -> dict[str, Any]:
    """What a running `zmart up` has written down about itself; raises FileNotFoundError when none runs."""
    connection: dict[str, Any] = json.loads((data_dir / CONNECTION_FILE).read_text())
    return connection


def database_of(settings: Settings) -> str:
    """The database of the settings, else that of the `zmart up` in the data dir; raises SettingMissing without both."""
    if settings.database_url is None:
        with contextlib.suppress(FileNotFoundError):
            return str(read_connection(settings.data_dir)["database_url"])
    return database_url(settings)


def write_private(path: Path, text: str) -> None:
    """Replace the file in one step, mode 0600."""
    draft = path.with_suffix(".partial")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
    draft.replace(path)


def _read_status(path: Path) -> dict[str, Any]:
    try:
        status: dict[str, Any] = json.loads(path.read_text())
    except FileNotFoundError:
        return {}
    return status


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def announce(connection: dict[str, Any]) -> None:
    """Print where everything is, then the line that scripts wait for."""
    table = Table("what", "where")
    for name in ("envoy_url", "grpc_target", "ws_url", "rpc_url", "database_url", "redis_url"):
        table.add_row(name, without_password(connection[name]))
    Console().print(table)
    click.echo("zmart is ready")


def without_password(url: str) -> str:
    """A URL fit for a screen."""
    parts = urlsplit(url)
    if parts.password is None:
        return url
    return url.replace(f":{parts.password}@", ":***@")
