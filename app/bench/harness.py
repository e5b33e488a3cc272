"""Measuring two things in turns: a machine that is busy meanwhile is busy for both."""

from __future__ import annotations

import os
import statistics
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

Figures = dict[str, Any]
"""What one run measured, by name; units are in the names."""


@dataclass(frozen=True, slots=True)
class Shape:
    """How long each run takes, how often ours and the baseline take turns, and what is open at once."""

    seconds: float = 60.0
    rounds: int = 3
    connections: int = 32
    """Requests, or for votes in bulk messages, that are open at once."""
    markets: tuple[int, ...] = ()
    """Each number of markets is a case of its own."""
    wallets: int = 0
    """Voters of each case; every one votes at most once on each market."""

    def changed(self, **changes: Any) -> Shape:
        """This shape with everything that is neither None nor empty put in."""
        return replace(self, **{name: value for name, value in changes.items() if value})


@dataclass(frozen=True, slots=True)
class Report:
    """What `zmart bench` prints."""

    bench: str
    ours: Figures
    baseline: Figures
    ratio: float
    runs: list[Figures]
    cases: dict[str, Figures] = field(default_factory=dict)

    @property
    def json(self) -> Figures:
        """The contract's object, with `cases` where there are several."""
        told = {
            "bench": self.bench,
            "ours": self.ours,
            "baseline": self.baseline,
            "ratio": self.ratio,
            "runs": self.runs,
        }
        return {**told, "cases": self.cases} if self.cases else told


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


def worst(reports: Mapping[str, Report]) -> Report:
    """Several cases as one report: that of the lowest ratio, with the medians of all under their names."""
    lowest = min(reports.values(), key=lambda report: report.ratio)
    cases = {
        name: {"ours": report.ours, "baseline": report.baseline, "ratio": report.ratio}
        for name, report in reports.items()
    }
    runs = [{"case": name, **run} for name, report in reports.items() for run in report.runs]
    return replace(lowest, runs=runs, cases=cases)


def percentiles(latencies_s: list[float]) -> Figures:
    """Median and 99th percentile, milliseconds."""
    ordered = sorted(latencies_s)
    return {
        "p50_ms": round(ordered[len(ordered) // 2] * 1_000, 2),
        "p99_ms": round(ordered[len(ordered) * 99 // 100] * 1_000, 2),
    }


def _middle(runs: list[Figures], figure: str) -> Figures:
    return sorted(runs, key=lambda run: float(run[figure]))[len(runs) // 2]
