"""`zmart bench votes`: proposal votes one by one through gRPC, stored before they are answered, with everything on.

Ours is the whole system: tokens, limits, one commit per batch, the feed. The baseline is `echo.py`: the same messages
from the same client to a server of the same make that does nothing. Both are measured with many calls open and with
one.
"""

from __future__ import annotations

import contextlib
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from app.bench.ballots import Plan
from app.bench.harness import Figures, Report, Shape, in_turns, worst
from app.bench.processes import busy_s
from app.bench.stage import Stage, running_stage
from app.embedded.loopback import LOOPBACK

SHAPE = Shape(seconds=10.0, rounds=5, connections=64, markets=(100, 100_000), wallets=3_000)
LOAD = "app.bench.voter"
WARM_S_MAX = 3.0
"""Before a run is measured: connections, statements and markets are warm, and every wallet has called once, as pages do
when they open: a first call pays 190 us more, for its token and its lease."""
ALONE_SHARE = 4
"""One call at a time is measured for a quarter of the time."""
STOP_S_MAX = 10.0


@dataclass
class _Target:
    """A server under load, and the number of the next vote to cast there: none is cast twice."""

    port: int
    pid: int
    load: Callable[[str, Plan], Figures]
    next_vote: int = 0

    def figures(self, shape: Shape) -> Figures:
        """With many calls open, then with one."""
        warm_s, busy_s_before = min(WARM_S_MAX, shape.seconds), busy_s(self.pid)
        many = self._cast(shape.connections, warm_s, shape.seconds)
        busy = (busy_s(self.pid) - busy_s_before) / (warm_s + shape.seconds)
        one = self._cast(1, 0.0, shape.seconds / ALONE_SHARE)
        alone = {"alone_p50_ms": one["p50_ms"], "alone_p99_ms": one["p99_ms"]}
        return {**many, **alone, "server_busy": round(busy, 2)}

    def _cast(self, at_once: int, warm_s: float, seconds: float) -> Figures:
        figures = self.load(LOAD, Plan(LOOPBACK, self.port, self.next_vote, at_once, warm_s, seconds))
        self.next_vote += figures["acknowledged"] + figures["refused"]
        return figures


def measure(shape: Shape) -> Report:
    """One case for each number of markets; compared is `votes_per_s`, what was acknowledged."""
    return worst({f"{markets} markets": _case(shape, markets) for markets in shape.markets})


def _case(shape: Shape, markets: int) -> Report:
    with running_stage(markets, shape.wallets, signed_in=True) as stage:
        return compare(stage, shape)


def compare(stage: Stage, shape: Shape) -> Report:
    """One case, on a system that runs already."""
    with _echo(stage) as echo:
        port = int(stage.connection["grpc_target"].rpartition(":")[2])
        (pid,) = stage.connection["pids"]["grpc"]
        ours = _Target(port, pid, stage.load)
        return in_turns("votes", "votes_per_s", shape.rounds, lambda: ours.figures(shape), lambda: echo.figures(shape))


@contextlib.contextmanager
def _echo(stage: Stage) -> Iterator[_Target]:
    command = [sys.executable, "-m", "app.bench.echo"]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None
            yield _Target(int(process.stdout.readline()), process.pid, stage.load_alone)
        finally:
            process.terminate()
            process.wait(STOP_S_MAX)
