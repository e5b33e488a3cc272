"""The metrics of all processes around one folder, for Prometheus: `python -m app.exporter FOLDER HOST PORT`.

A process with PROMETHEUS_MULTIPROC_DIR counts in files of that folder, mapped into its memory, so that counting stays a
write to memory and a scrape disturbs nobody. This process reads the files and adds them up. It imports nothing of ours.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import sys
import threading
from collections.abc import Iterable
from pathlib import Path

FOLDER_VARIABLE = "PROMETHEUS_MULTIPROC_DIR"
_LIVE_GAUGES = re.compile(r"gauge_live\w*_(?P<pid>\d+)\.db")


def count_in(folder: Path) -> None:
    """Have this process, and whatever it starts, count in `folder`; empties it, for the counts begin anew.

    The library looks at the variable once, when it is first imported, so this comes before.
    """
    assert "prometheus_client" not in sys.modules, "its metrics are in this process's own memory already"
    os.environ[FOLDER_VARIABLE] = str(emptied(folder))


def emptied(folder: Path) -> Path:
    """The folder with nothing in it."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True, mode=0o700)
    return folder


def command(folder: Path, host: str, port: int) -> list[str]:
    """The command that runs this."""
    return [sys.executable, "-m", "app.exporter", str(folder), host, str(port)]


def forget_the_dead(folder: Path) -> None:
    """Drop the gauges that speak of a living process whose process has died; its counters stay, they never go back."""
    for path in folder.glob("gauge_live*.db"):
        match = _LIVE_GAUGES.fullmatch(path.name)
        if match and not Path("/proc", match["pid"]).exists():
            path.unlink(missing_ok=True)


def serve(folder: Path, host: str, port: int, stop: threading.Event) -> None:
    """Answer scrapes until `stop`; raises OSError when the port is taken."""
    from prometheus_client import CollectorRegistry, Metric, start_http_server
    from prometheus_client.multiprocess import MultiProcessCollector
    from prometheus_client.registry import Collector

    class Folder(Collector):
        def collect(self) -> Iterable[Metric]:
            forget_the_dead(folder)
            summed: Iterable[Metric] = MultiProcessCollector(None, str(folder)).collect()  # type: ignore[no-untyped-call]
            return summed

    registry = CollectorRegistry()
    registry.register(Folder())
    server, _ = start_http_server(port, host, registry)
    stop.wait()
    server.shutdown()


def main(folder: str, host: str, port: str) -> None:
    """Serve until SIGTERM or SIGINT."""
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    serve(Path(folder), host, int(port), stop)


if __name__ == "__main__":
    main(*sys.argv[1:4])
