"""`zmart serve ROLE` and `zmart ledger`: one role in this process, until SIGTERM or SIGINT."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
from collections.abc import Coroutine, Iterator
from pathlib import Path
from typing import Any

import uvloop

from app import exporter
from app.call_stack import in_one_piece
from app.collector import NEW_OBJECTS_OF_CALLS_MAX, calm_collector
from app.config import Settings
from app.exec_child import guarded
from app.logs import configure_logs
from app.untraced import leave_opentelemetry_out

STOP_GRACE_S = 10.0
INDEXER_STATUS_FILE = "indexer.json"


def serve_role(role: str, settings: Settings) -> None:
    """Run a role to its end."""
    configure_logs(settings.log_level, role=role)
    if settings.otlp_endpoint is None:
        leave_opentelemetry_out()
    with _exported(role, settings):
        in_one_piece(_serve, role, settings)


@contextlib.contextmanager
def _exported(role: str, settings: Settings) -> Iterator[None]:
    """Let a role that runs by itself count in a folder of its own, with its own exporter; `zmart up` has one for all.

    The exporter is a process, so that the launcher of the actors can fork without threads. It dies with this one.
    """
    if exporter.FOLDER_VARIABLE in os.environ or role in ("ledger", "envoy"):
        yield
        return
    folder = settings.data_dir.absolute() / "metrics" / role
    exporter.count_in(folder)
    argv = exporter.command(folder, settings.host, settings.ports.metrics)
    with subprocess.Popen(guarded(argv, signal.SIGKILL)) as process:
        try:
            yield
        finally:
            process.terminate()


def _serve(role: str, settings: Settings) -> None:
    match role:
        case "actors":
            from app.roles_actors import serve

            serve(settings)
        case "ledger":
            _run(_ledger(settings))
        case "grpc":
            _run(_grpc(settings))
        case "bridge":
            _run(_bridge(settings))
        case "notifier":
            _run(_notifier(settings))
        case "indexer":
            _run(_indexer(settings))
        case "alerts":
            _run(_alerts(settings))
        case "envoy":
            _become_envoy(settings)
        case _:
            raise ValueError(f"unknown role {role}")


def _become_envoy(settings: Settings) -> None:
    """Fill in the proxy's configuration and become it; the servers behind it listen on this host's loopback."""
    from app.embedded import EmbeddedEnvoy, Endpoint
    from app.embedded.loopback import LOOPBACK

    ports = settings.ports
    envoy = EmbeddedEnvoy(
        settings.data_dir,
        grpc=Endpoint(LOOPBACK, ports.grpc),
        bridge=Endpoint(LOOPBACK, ports.bridge),
        listen=Endpoint(settings.host, ports.envoy),
        admin_port=ports.envoy_admin,
        collector=settings.otlp_endpoint,
        origins=settings.ws_origins,
    )
    envoy.write_config()
    argv = envoy.argv()
    os.execv(argv[0], argv)  # noqa: S606  # becoming the command is the purpose


def _run(work: Coroutine[Any, Any, None]) -> None:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(work)


def stop_event() -> asyncio.Event:
    """Set by SIGTERM or SIGINT; call in the running loop."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    return stop


async def _ledger(settings: Settings) -> None:
    """The ledger; alone, without a `zmart up` around it, it writes its own part of connection.json."""
    from app.ledger_alone import write_connection
    from chain.ledger import LedgerSettings, serve

    ports = settings.ports
    ledger = LedgerSettings(
        data_dir=settings.data_dir / "ledger",
        host=settings.host,
        rpc_port=ports.ledger_rpc,
        pubsub_port=ports.ledger_pubsub,
        slot_ms=settings.slot_ms,
        program_id=settings.program_id,
        build=settings.ledger_build,
        sell_mode=settings.ledger_sell_mode,
    )
    if settings.run_id:
        await serve(ledger)
        return
    written: list[Path] = []
    try:
        await serve(ledger, lambda running: written.append(write_connection(settings, running)))
    finally:
        for path in written:
            path.unlink(missing_ok=True)


async def _grpc(settings: Settings) -> None:
    from app.wiring_grpc import running_grpc

    stop = stop_event()
    async with running_grpc(settings, STOP_GRACE_S):
        calm_collector(NEW_OBJECTS_OF_CALLS_MAX)
        await stop.wait()


async def _bridge(settings: Settings) -> None:
    from app.wiring_feed import running_bridge

    stop = stop_event()
    async with running_bridge(settings, STOP_GRACE_S):
        calm_collector()
        await stop.wait()


async def _notifier(settings: Settings) -> None:
    from app.wiring_feed import run_notifier

    calm_collector()
    await run_notifier(settings, stop_event())


async def _indexer(settings: Settings) -> None:
    """The indexer; a stop between two transactions loses nothing, so it simply ends what is under way."""
    from app.roles_actors import write_status
    from app.wiring_index import opened_indexer

    stop = stop_event()
    async with opened_indexer(settings) as indexer:
        calm_collector()
        working = asyncio.create_task(indexer.run())
        stopping = asyncio.create_task(stop.wait())
        write_status(settings.data_dir / INDEXER_STATUS_FILE, {"run_id": settings.run_id, "pid": os.getpid()})
        await asyncio.wait({working, stopping}, return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        working.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await working


async def _alerts(settings: Settings) -> None:
    from alerts.rules import UnusableRules
    from app.wiring_alerts import run_alerts

    try:
        await run_alerts(settings, stop_event())
    except UnusableRules as fault:
        raise SystemExit(f"ZMART_ALERT_RULES: {fault}") from fault
