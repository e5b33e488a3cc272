"""Processes count in files of one folder, and one exporter adds them up for Prometheus."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path

from app import exporter
from app.embedded.loopback import free_port
from tests.support.eventually import WAIT_S_MAX, eventually

COUNTING = """
import sys
from prometheus_client import Counter, Gauge
Counter("tried", "Tries.").inc(int(sys.argv[1]))
Gauge("open", "Open now.", multiprocess_mode="livesum").set(int(sys.argv[1]))
print("counted", flush=True)
sys.stdin.read()
"""


@contextlib.contextmanager
def counting(folder: Path, amount: int) -> Iterator[subprocess.Popen[str]]:
    argv = [sys.executable, "-c", COUNTING, str(amount)]
    env = os.environ | {exporter.FOLDER_VARIABLE: str(folder)}
    with subprocess.Popen(argv, env=env, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "counted\n"
        try:
            yield process
        finally:
            process.kill()


@contextlib.contextmanager
def exporting(folder: Path) -> Iterator[str]:
    port = free_port()
    with subprocess.Popen(exporter.command(folder, "127.0.0.1", port)) as process:
        try:
            yield f"http://127.0.0.1:{port}/metrics"
        finally:
            process.send_signal(signal.SIGTERM)
            assert process.wait(WAIT_S_MAX) == 0


def scraped(url: str) -> set[str]:
    with urllib.request.urlopen(url, timeout=WAIT_S_MAX) as answer:  # noqa: S310
        return set(answer.read().decode().splitlines())


def is_answered(url: str) -> bool:
    with contextlib.suppress(OSError):
        return bool(scraped(url) or True)
    return False


def test_counters_of_all_processes_are_summed_and_outlive_them_gauges_end_with_their_process(tmp_path: Path) -> None:
    folder = exporter.emptied(tmp_path / "metrics")
    with exporting(folder) as url, counting(folder, 2):
        eventually(lambda: is_answered(url))
        with counting(folder, 3):
            assert {"tried_total 5.0", "open 5.0"} <= scraped(url)
        assert {"tried_total 5.0", "open 2.0"} <= scraped(url)


def test_a_new_start_counts_from_nothing(tmp_path: Path) -> None:
    (tmp_path / "counter_1.db").write_bytes(b"of the run before")
    assert list(exporter.emptied(tmp_path).iterdir()) == []
