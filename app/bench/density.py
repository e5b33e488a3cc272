"""`zmart bench density`: what a market costs that a shard keeps awake, in memory and in CPU for each look at it.

Ours is a MarketActor for each market in one Thespian system, as shards hold them. The baseline holds the same values in
a dictionary and makes the same decision without an actor. Both are processes of their own, measured from outside.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from app.bench.harness import Figures, Report, Shape, in_turns, worst
from app.bench.processes import busy_s, resident_kib

SHAPE = Shape(rounds=3, markets=(10_000, 50_000))
LOOKS = 5
"""Rounds of looks at every market."""
KIB = 1_024


def measure(shape: Shape) -> Report:
    """Compared is `bytes_per_market`."""
    return worst({f"{markets} markets": compare(markets, shape.rounds) for markets in shape.markets})


def compare(markets: int, rounds: int) -> Report:
    """One case."""
    return in_turns(
        "density", "bytes_per_market", rounds, lambda: held("actors", markets), lambda: held("values", markets)
    )


def held(kind: str, markets: int) -> Figures:
    """One run of one process."""
    with _process(kind, markets) as process:
        begun_kib = resident_kib(process.pid)
        _step(process, "held")
        held_kib, began_s = resident_kib(process.pid), busy_s(process.pid)
        for _ in range(LOOKS):
            _step(process, "looked")
        looked_s = busy_s(process.pid) - began_s
        return {
            "markets": markets,
            "bytes_per_market": round((held_kib - begun_kib) * KIB / markets),
            "process_mib": round(held_kib / KIB, 1),
            "process_after_looks_mib": round(resident_kib(process.pid) / KIB, 1),
            "cpu_us_per_look": round(looked_s * 1_000_000 / (markets * LOOKS), 2),
        }


@contextmanager
def _process(kind: str, markets: int) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-m", "app.bench.held_markets", kind, str(markets)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            _expect(process, "begun")
            yield process
        finally:
            process.kill()


def _step(process: subprocess.Popen[str], word: str) -> None:
    assert process.stdin is not None
    process.stdin.write("\n")
    process.stdin.flush()
    _expect(process, word)


def _expect(process: subprocess.Popen[str], word: str) -> None:
    assert process.stdout is not None
    said = process.stdout.readline().strip()
    if said != word:
        raise RuntimeError(f"the process that holds the markets said {said!r} instead of {word!r}")
