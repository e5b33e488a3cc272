"""A stand-in for `zmart up`: starts embedded parts, prints what a test needs as one JSON line, watches until killed.

Tests start it by `parent()`, which runs this file as `python embedded_parent.py DATA_DIR RUN_ID PART...`.
"""

import contextlib
import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from app.embedded import EmbeddedEnvoy, EmbeddedPostgres, EmbeddedValkey, Endpoint, free_port
from app.runner import RUN_ID_VARIABLE, Runner

Part = EmbeddedPostgres | EmbeddedValkey | EmbeddedEnvoy


def envoy(data_dir: Path) -> EmbeddedEnvoy:
    """An Envoy whose upstreams are not there."""
    return EmbeddedEnvoy(data_dir, Endpoint("127.0.0.1", free_port()), Endpoint("127.0.0.1", free_port()))


PARTS: dict[str, Callable[[Path], Part]] = {"postgres": EmbeddedPostgres, "valkey": EmbeddedValkey, "envoy": envoy}


@dataclass(frozen=True)
class Parent:
    """A running parent: its process, and by part the URL and the pids it reported."""

    process: subprocess.Popen[bytes]
    urls: dict[str, str]
    pids: dict[str, list[int]]


@contextlib.contextmanager
def parent(data_dir: Path, run_id: str, names: Sequence[str], prefix: Sequence[str] = ()) -> Iterator[Parent]:
    """A parent with its parts ready, as whom `prefix` makes it; killed by SIGKILL at the end at the latest."""
    argv = [*prefix, sys.executable, __file__, str(data_dir), run_id, *names]
    environment = {**os.environ, RUN_ID_VARIABLE: run_id, "PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen(argv, env=environment, stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None
            yield Parent(process, **json.loads(process.stdout.readline()))
        finally:
            process.kill()


def main(data_dir: Path, run_id: str, *names: str) -> None:
    """Start the parts in order and watch them for ever."""
    runner = Runner(run_id, data_dir / "logs")
    urls = {}
    for name in names:
        part = PARTS[name](data_dir)
        runner.start(part.role())
        urls[name] = part.url
    sys.stdout.write(json.dumps({"urls": urls, "pids": runner.pids()}) + "\n")
    sys.stdout.flush()
    runner.watch(threading.Event())


if __name__ == "__main__":
    main(Path(sys.argv[1]), *sys.argv[2:])
