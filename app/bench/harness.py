"""Measuring two things in turns: a machine that is busy meanwhile is busy for both."""

from __future__ import annotations

import os
import statistics
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

Figures = dict[str, Any]
"""What one run measured, by name; units are in the names."""


@dataclass(frozen=True, slots=True)
class Shape:
    """How long each run takes, how often ours and the baseline take turns, and how many requests are open at once."""

    seconds: float = 60.0
    rounds: int = 3
    connections: int = 32


@dataclass(frozen=True, slots=True)
class Report:
    """What `zmart bench` prints."""

    bench: str
    ours: Figures
    baseline: Figures
    ratio: float
    runs: list[Figures]

    @property
    def json(self) -> Figures:
        """The contract's object."""
        return {
            "bench": self.bench,
            "ours": self.ours,
            "baseline": self.baseline,
            "ratio": self.ratio,
            "runs": self.runs,
        }


def in_turns(
    bench: str, figure: str, rounds: int, ours: Callable[[], Figures], baseline: Callable[[], Figures]
) -> Report:
    """Run both `rounds` times in turns; `ratio` is the median of ours over the baseline of the same round.

    `figure` names the number that is compared; `ours` and `baseline` of the report are the runs with its median.
    """
    pairs: list[Figures] = []
    for _ in range(rounds):
        load = os.getloadavg()[0]
        pairs.append({"baseline": baseline(), "ours": ours(), "load_before": round(load, 2)})
    for pair in pairs:
        pair["ratio"] = round(pair["ours"][figure] / pair["baseline"][figure], 3)
    return Report(
        bench=bench,
        ours=_middle([pair["ours"] for pair in pairs], figure),
        baseline=_middle([pair["baseline"] for pair in pairs], figure),
        ratio=round(statistics.median(float(pair["ratio"]) for pair in pairs), 3),
        runs=pairs,
    )


def _middle(runs: list[Figures], figure: str) -> Figures:
    return sorted(runs, key=lambda run: float(run[figure]))[len(runs) // 2]
