"""`zmart bench soak`: a bridge for half an hour under clients that come and go, then with some that read nothing.

A thousand connections, about half of them on one market; two updates a second; ten of the oldest are replaced every
second, so that all have gone after a hundred. The baseline is the bridge's own memory at the beginning: the ratio is
that of the last tenth to that of the second tenth (the first fills caches and history), and 1 is flat. Memory over time
is in `runs`.

The case `stuck` follows in the same process: twenty more clients subscribe and never read while messages are 2 KiB, ten
at a time. It tells when the last of them was ended, what the process grew, and what the others had to wait meanwhile.
"""

from __future__ import annotations

import json
import time
import urllib.request
from collections.abc import Sequence
from typing import Any

from app.bench.fanout import LOADS, TOGETHER, UPDATE_EVERY_S, Served, bridge_served
from app.bench.harness import Figures, Report, Shape, percentiles
from app.bench.processes import resident_kib
from app.embedded.loopback import LOOPBACK

SHAPE = Shape(seconds=1_800.0, rounds=1, connections=1_000)
SAMPLES = 30
REPLACED_PER_S = 10
"""Of all load processes together; each replaces its part once a second."""
STUCK = 20
STUCK_S_MAX = 60.0
ANSWER_S_MAX = 30.0
PADDING = "x" * 2_048


def measure(shape: Shape) -> Report:
    """Churn, then clients that read nothing."""
    with bridge_served() as server:
        server.fill(shape.connections)
        runs = [_sample(server, shape.seconds / SAMPLES) for _ in range(SAMPLES)]
        stuck = _stuck(server)
    tenth = SAMPLES // 10
    first, last = _mean_mib(runs[tenth : 2 * tenth]), _mean_mib(runs[-tenth:])
    told = {"connections": shape.connections, "seconds": shape.seconds, "replaced": _sum(runs, "replaced")}
    ours = {**told, "memory_mib": last, "closed": _sum(runs, "closed"), "messages": _sum(runs, "messages")}
    return Report("soak", ours, {"memory_mib": first}, round(last / first, 3), runs, {"stuck": stuck})


def _sample(server: Served, seconds: float) -> Figures:
    """Some time of updates and churn; memory at its end."""
    ends_s = time.monotonic() + seconds
    replaced, next_churn_s = 0, time.monotonic()
    while time.monotonic() < ends_s:
        server.publish([server.update()])
        if time.monotonic() >= next_churn_s:
            next_churn_s += 1.0
            server.tell(f"replace {REPLACED_PER_S // LOADS}")
            replaced += REPLACED_PER_S
        time.sleep(UPDATE_EVERY_S)
    return {"memory_mib": _memory_mib(server), "replaced": replaced, **_heard(server)}


def _stuck(server: Served) -> Figures:
    """Bigger messages and clients that take none, until all of those are ended."""
    before = highest = _memory_mib(server)
    healthy = _open(server)
    server.tell(f"stuck {STUCK // LOADS}")
    heard, began_s = list[Any](), time.monotonic()
    left, took_s = STUCK, 0.0
    while left and took_s < STUCK_S_MAX:
        server.publish([server.update(PADDING) for _ in range(TOGETHER)])
        time.sleep(UPDATE_EVERY_S)
        answers = server.ask()
        heard += answers
        left, took_s = _open(server) - healthy, time.monotonic() - began_s
        highest = max(highest, _memory_mib(server))
    ended = {"stuck": STUCK, "left": left, "all_ended_after_s": round(took_s, 1)}
    return {**ended, "grown_mib": round(highest - before, 1), **_told(heard)}


def _heard(server: Served) -> Figures:
    return _told(server.ask())


def _told(answers: Sequence[Figures]) -> Figures:
    """What healthy clients got, and how many of them the server closed."""
    waits_s = [wait / 1e9 for answer in answers for wait in answer["waits_ns"]]
    return {**{name: _sum(answers, name) for name in ("messages", "closed")}, **percentiles(waits_s)}


def _open(server: Served) -> int:
    """Connections as the bridge counts them: a client that reads nothing does not learn that it was ended."""
    with urllib.request.urlopen(f"http://{LOOPBACK}:{server.port}/healthz", timeout=ANSWER_S_MAX) as answer:
        return int(json.load(answer)["connections"])


def _memory_mib(server: Served) -> float:
    return round(resident_kib(server.process.pid) / 1_024, 1)


def _mean_mib(runs: Sequence[Figures]) -> float:
    return round(sum(float(run["memory_mib"]) for run in runs) / len(runs), 1)


def _sum(runs: Sequence[Figures], name: str) -> int:
    return sum(int(run[name]) for run in runs)
