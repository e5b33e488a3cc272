"""`zmart up`: the whole system on one machine, with embedded twins of everything that is not configured."""

from __future__ import annotations

import asyncio
import dataclasses
import secrets
import signal
import sys
import threading
from collections.abc import Callable, Sequence
from typing import Any, TextIO

import click
from rich.console import Console
from rich.table import Table

from alerts.rules import UnusableRules, read_rules
from app import clock, exporter
from app.claims import DataDirTaken, PortTaken, hold, refuse_taken_ports
from app.config import Settings
from app.connection import ConnectionFile, connection_of, without_password
from app.embedded import DataDirectoryUnusable, EmbeddedEnvoy, EmbeddedPostgres, EmbeddedValkey, Endpoint
from app.operator_tokens import minted, noted
from app.pids import Owners, bridge_names, pids_of_roles
from app.readiness import Probes
from app.restarts import Restarts, store_alert
from app.roles_actors import STATUS_FILE
from app.runner import TICK_S, Role, RoleEnded, Runner, StartAborted, StartFailed
from domain.journal import AlertNote
from storage.migrate import MigrationsDiffer, migrate
from storage.outages import StorageUnavailable

LOCK_FILE = "up.lock"
REFRESH_S = 1.0
"""How often connection.json follows pids that changed."""
START_S_MAX = 120.0
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
        self._restarts = Restarts(self._raise_alert, clock.monotonic_s)
        self.runner = Runner(settings.run_id, self.data_dir / "logs", aborting=stop, on_loss=self._restarts.lost)
        self._metrics = self.data_dir / "metrics"
        self._probes = Probes(settings, self.data_dir)
        self._file = ConnectionFile(self.data_dir)
        self._env: dict[str, str] = {}
        self._lock: TextIO | None = None
        self._owners: Owners | None = None

    def start(self) -> None:
        """Start and wait for every role, then write connection.json; `stop` clears up.

        Raises StartFailed, or StartAborted when told to stop meanwhile.
        """
        self._lock = hold(self.data_dir / LOCK_FILE)
        refuse_taken_ports(self.settings)
        read_rules(self.settings.alert_rules)  # whoever starts the system hears of it, not a log
        self._file.remove()
        database_url, redis_url = self._database(), self._redis()
        self._env = self._environment(database_url, redis_url)
        asyncio.run(migrate(database_url))
        self._owners = Owners(database_url)
        self.runner.start(self._exporter())
        if self.settings.solana_rpc_url is None:
            self.runner.start(self._role("ledger", self._probes.ledger, argv=("ledger",)))
        (self.data_dir / STATUS_FILE).unlink(missing_ok=True)
        self.runner.start(self._role("actors", self._probes.actors))
        # Before those whom it forwards to, so that it stops after them: calls in flight through it are answered.
        self.runner.start(self._envoy().role())
        self.runner.start(self._role("grpc", self._probes.grpc))
        self.runner.start(self._role("notifier", lambda: None))
        self.runner.start(self._role("alerts", lambda: None))
        for name in bridge_names(self.settings.bridges):
            self.runner.start(self._role(name, self._probes.bridge, argv=("serve", "bridge")))
        self.runner.start(self._role("indexer", self._probes.indexer))
        if self.settings.solana_rpc_url is None:
            self._probes.register_webhook()
        token = asyncio.run(self._operator_token(database_url))
        self._file.write(connection_of(self.settings, database_url, redis_url, token) | {"pids": self._pids()})

    @property
    def connection(self) -> dict[str, Any]:
        """What connection.json says."""
        return self._file.content

    def watch(self, stop: threading.Event) -> None:
        """Heal until `stop`; connection.json follows the pids."""
        looked_at_s = 0.0
        while not stop.wait(TICK_S):
            self.runner.heal()
            if clock.monotonic_s() - looked_at_s > REFRESH_S:
                looked_at_s = clock.monotonic_s()
                self._file.follow(self._pids())
                if self._restarts.has_news:
                    asyncio.run(self._restarts.tell())

    def stop(self) -> None:
        """Stop every role, in reverse order."""
        self.runner.stop()
        if self._lock is not None:
            self._file.remove()
            self._lock.close()

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
            collector=self.settings.otlp_endpoint,
            origins=self.settings.ws_origins,
        )

    def _exporter(self) -> Role:
        argv = exporter.command(exporter.emptied(self._metrics), self.settings.host, self.settings.ports.metrics)
        return Role("metrics", argv, self._probes.metrics, start_timeout_s=START_S_MAX)

    def _role(self, name: str, ready: Callable[[], None], argv: Sequence[str] = ()) -> Role:
        command = [sys.executable, "-m", "app", *(argv or ("serve", name))]
        return Role(name, command, ready, env=self._env, start_timeout_s=START_S_MAX, stop_timeout_s=STOP_S_MAX)

    def _environment(self, database_url: str, redis_url: str) -> dict[str, str]:
        """What the roles are told; everything else they read from the same environment as this process."""
        told = {
            "ZMART_DATA_DIR": str(self.data_dir),
            "ZMART_DATABASE_URL": database_url,
            "ZMART_REDIS_URL": redis_url,
            exporter.FOLDER_VARIABLE: str(self._metrics),
        }
        ports = dataclasses.asdict(self.settings.ports)
        return told | {f"ZMART_{name.upper()}_PORT": str(port) for name, port in ports.items()}

    async def _operator_token(self, database_url: str) -> str:
        """A token for this machine's scripts, listed and revocable as every operator's."""
        settings = self.settings.model_copy(update={"database_url": database_url})
        issued = minted(settings, wallet=None, hours=None)
        await noted(settings, issued, f"zmart up, run {settings.run_id}")
        return issued.token

    async def _raise_alert(self, note: AlertNote) -> None:
        await store_alert(self._env["ZMART_DATABASE_URL"], note)

    def _pids(self) -> dict[str, list[int]]:
        assert self._owners is not None, "start() comes first"
        return pids_of_roles(self.runner.pids(), self.data_dir, self._owners.pids(clock.monotonic_s()))


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


def announce(connection: dict[str, Any]) -> None:
    """Print where everything is, then the line that scripts wait for."""
    table = Table("what", "where")
    for name in ("envoy_url", "grpc_target", "ws_url", "rpc_url", "metrics_url", "database_url", "redis_url"):
        table.add_row(name, without_password(connection[name]))
    Console().print(table)
    click.echo("zmart is ready")
