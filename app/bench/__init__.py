"""Benchmarks: each measures one promise against a baseline of the same run, in turns, and prints one JSON object.

They must never be a test (nothing asserts milliseconds), and never measure inside the process that is measured.
Start with `harness.py`; the names of `BENCHES` are those of `zmart bench NAME` and of the module that measures.
"""

from __future__ import annotations

import json
from importlib import import_module
from typing import Any

BENCHES = ("ledger", "votes", "bulk", "index", "fanout", "soak", "timers", "door", "density", "failover")


def run(name: str, **changes: Any) -> str:
    """Run one benchmark, its own shape changed by what is not None; the JSON object it prints."""
    measured = import_module(f"app.bench.{name}")
    return json.dumps(measured.measure(measured.SHAPE.changed(**changes)).json)


__all__ = ["BENCHES", "run"]
