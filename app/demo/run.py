"""Starts a fresh system in a temporary folder, lives the story on it, and prints what was verified."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import aiohttp
import grpc
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from app.clock import wall_s
from app.connection import CONNECTION_FILE
from app.demo.doors import Doors
from app.demo.story import GRID_S, Story, Verified
from app.embedded import free_port_base
from app.exec_child import guarded

READY_S_MAX = 180.0
STOP_S_MAX = 60.0
LOOK_S = 0.1
PORTS = 8


class SystemNotReady(Exception):
    """`zmart up` ended or was late; carries its last words."""


def run(*, keep: bool = False) -> int:
    """Live the story on a fresh system; returns 0 only if every step was verified."""
    console = Console(highlight=False)
    folder = Path(tempfile.mkdtemp(prefix="zmart-demo-"))
    started_s = time.monotonic()
    try:
        with running_system(folder, far_from_grid(wall_s())) as connection:
            console.print(f"a fresh system is up after {time.monotonic() - started_s:.0f} s")
            verified = asyncio.run(live(connection, console))
    except SystemNotReady as failure:
        console.print(f"[bold red]the system did not start:[/] {escape(str(failure))}")
        return 1
    except StoryFailed as failure:
        console.print(f"[bold red]not verified:[/] {escape(str(failure))}")
        return 1
    finally:
        if keep:
            console.print(f"kept {folder}")
        else:
            shutil.rmtree(folder, ignore_errors=True)
    console.print(report(verified))
    console.print(f"{len(verified)} facts verified in {time.monotonic() - started_s:.0f} s")
    return 0


class StoryFailed(Exception):
    """A step of the story did not hold; the cause says what was seen."""

    def __init__(self, step: str, cause: BaseException) -> None:
        super().__init__(f"{step}: {cause or type(cause).__name__}")
        self.step = step


async def live(connection: Mapping[str, Any], console: Console, story: Story | None = None) -> Sequence[Verified]:
    """Live one story against a running system; raises StoryFailed at the first step that does not hold."""
    async with (
        grpc.aio.insecure_channel(connection["grpc_target"]) as channel,
        aiohttp.ClientSession() as http,
    ):
        story = story or Story(Doors(connection, channel, http))
        try:
            await story.live(lambda step: console.print(f"  • {step}"))
        except Exception as failure:
            raise StoryFailed(story.step, failure) from failure
        return story.verified


CROWDED = dict.fromkeys(
    ("ZMART_LIMIT_ANONYMOUS_PER_MIN", "ZMART_LIMIT_WALLET_PER_MIN", "ZMART_LIMIT_SERVICE_PER_MIN"), "1000000"
)
"""All callers of these systems share one address and look often; they are counted as everybody is, up to a number."""


def far_from_grid(now_s: float) -> dict[str, str]:
    """An aggregation grid of one instant in `GRID_S`, the next one half of that away.

    So its instants come when the chain's clock is moved, and none by itself among the votes that somebody watches.
    """
    hour, minute = divmod(int(now_s + GRID_S / 2) % GRID_S // 60, 60)
    return {"ZMART_AGGREGATION_CRON": f"{minute} {hour},{hour + 12} * * *"}


@contextmanager
def running_system(data_dir: Path, env: Mapping[str, str] | None = None) -> Iterator[dict[str, Any]]:
    """`zmart up` over `data_dir`, ready; what connection.json says. Raises SystemNotReady with its last words."""
    command = [sys.executable, "-m", "app", "up", "--data-dir", str(data_dir)]
    command += ["--port-base", str(free_port_base(PORTS))]
    log_path = data_dir / "up.log"
    with log_path.open("wb") as log:
        process = subprocess.Popen(
            guarded(command, signal.SIGTERM),
            env={**CROWDED, **os.environ, **(env or {})},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
    try:
        yield _connection_of(process, data_dir / CONNECTION_FILE, log_path)
    finally:
        process.terminate()
        try:
            process.wait(STOP_S_MAX)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _connection_of(process: subprocess.Popen[bytes], path: Path, log_path: Path) -> dict[str, Any]:
    until_s = time.monotonic() + READY_S_MAX
    while time.monotonic() < until_s:
        if process.poll() is not None:
            break
        if path.exists():
            connection: dict[str, Any] = json.loads(path.read_text())
            if connection["pids"]["up"] == [process.pid]:  # else it is what a killed one left behind
                return connection
        time.sleep(LOOK_S)
    raise SystemNotReady(log_path.read_text(errors="replace")[-2000:])


def report(verified: Sequence[Verified]) -> Table:
    """What was verified, as a table."""
    table = Table("step", "fact", "seen", title="verified through public doors")
    last = ""
    for fact in verified:
        table.add_row("" if fact.step == last else fact.step, fact.claim, escape(fact.seen[:60]))
        last = fact.step
    return table
