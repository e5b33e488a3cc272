"""Which part of the system spends how much CPU: on a machine that others load it says more than the clock."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from app.bench.harness import Figures

_TICKS_S = os.sysconf("SC_CLK_TCK")


def cpu_by_role(pids: Mapping[str, Sequence[int]]) -> dict[str, float]:
    """Seconds of CPU so far by role, each with the processes it started, and that of all of them as `system`."""
    spent, parents = _looked()
    return {
        role: sum(spent.get(pid, 0.0) for pid in _families(leaders, parents))
        for role, leaders in {**_apart(pids), "system": pids["up"]}.items()
    }


def spent_each(before: Mapping[str, float], after: Mapping[str, float], count: int) -> Figures:
    """Microseconds of CPU for each of `count` things, by role."""
    return {role: round((after[role] - before[role]) * 1_000_000 / max(count, 1), 1) for role in after}


def _apart(pids: Mapping[str, Sequence[int]]) -> dict[str, Sequence[int]]:
    return {
        role: pids[role]
        for role in ("grpc", "shard", "postgres", "notifier", "bridge", "ledger", "indexer", "envoy")
        if role in pids
    }


def _looked() -> tuple[dict[int, float], dict[int, int]]:
    """Seconds of CPU and the parent of every process there is; its ended children count for a parent."""
    spent, parents = dict[int, float](), dict[int, int]()
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            fields = (entry / "stat").read_text(errors="replace").rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            continue
        parents[int(entry.name)] = int(fields[1])
        spent[int(entry.name)] = sum(map(int, fields[11:15])) / _TICKS_S
    return spent, parents


def _families(leaders: Sequence[int], parents: Mapping[int, int]) -> set[int]:
    family = set(leaders)
    grown = True
    while grown:
        more = {pid for pid, parent in parents.items() if parent in family} - family
        grown = bool(more)
        family |= more
    return family


def busy_s(pid: int) -> float:
    """Seconds of CPU that one process has spent."""
    return _looked()[0][pid]


def resident_kib(pid: int) -> int:
    """Memory that one process holds now."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0])
