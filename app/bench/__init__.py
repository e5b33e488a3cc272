"""Benchmarks: each measures one promise against a baseline of the same run, in turns, and prints one JSON object.

They must never be a test (nothing asserts milliseconds), and never measure inside the process that is measured.
Start with `harness.py`; the names of `BENCHES` are those of `zmart bench NAME`.
"""

from __future__ import annotations

import json
from collections.abc import Callable

from app.bench.harness import Report, Shape
from app.bench.ledger import ledger

BENCHES: dict[str, Callable[[Shape], Report]] = {"ledger": ledger}


def run(name: str, shape: Shape) -> str:
    """Run one benchmark; the JSON object it prints."""
    return json.dumps(BENCHES[name](shape).json)


__all__ = ["BENCHES", "Shape", "run"]
