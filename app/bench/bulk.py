"""`zmart bench bulk`: votes as streams of messages of 1,024, every one stored before its message is answered.

Ours is the whole system, from parsing to the feed. The baseline is `batches.py`: PostgreSQL's own rate for the same
rows.
"""

from __future__ import annotations

import asyncio
from urllib.parse import urlsplit

import asyncpg

from app.bench.ballots import Plan
from app.bench.harness import Figures, Report, Shape, in_turns, worst
from app.bench.stage import Stage, running_stage
from app.embedded.loopback import LOOPBACK
from storage.migrate import migrate

SHAPE = Shape(seconds=10.0, rounds=5, connections=2, markets=(100, 100_000), wallets=60_000)
WARM_S_MAX = 2.0
BASELINE_DATABASE = "zmart_bench"


class _Turns:
    """Where the next run's votes begin, for ours and for the baseline: no two of their rows are the same."""

    def __init__(self, stage: Stage, shape: Shape, baseline_url: str) -> None:
        self._stage, self._shape, self._baseline_url = stage, shape, baseline_url
        self._next = {"ours": 0, "baseline": 0}
        self._port = int(stage.connection["grpc_target"].rpartition(":")[2])

    def ours(self) -> Figures:
        """Through the system."""
        plan = self._plan("ours", self._shape.connections)
        return self._noted("ours", self._stage.load("app.bench.bulk_voter", plan))

    def baseline(self) -> Figures:
        """Past it."""
        plan = self._plan("baseline", len(self._stage.connection["pids"]["shard"]))
        return self._noted("baseline", self._stage.load_alone("app.bench.batches", plan))

    def _plan(self, side: str, at_once: int) -> Plan:
        return Plan(
            host=LOOPBACK,
            port=self._port,
            first=self._next[side],
            at_once=at_once,
            warm_s=min(WARM_S_MAX, self._shape.seconds),
            seconds=self._shape.seconds,
            service_key=self._stage.connection["service_key"],
            database_url=self._baseline_url,
        )

    def _noted(self, side: str, figures: Figures) -> Figures:
        self._next[side] += figures["acknowledged"] + figures["refused"]
        return figures


def measure(shape: Shape) -> Report:
    """One case for each number of markets; compared is `votes_per_s`, what was acknowledged or committed."""
    return worst({f"{markets} markets": _case(shape, markets) for markets in shape.markets})


def _case(shape: Shape, markets: int) -> Report:
    with running_stage(markets, shape.wallets, signed_in=False) as stage:
        return compare(stage, shape)


def compare(stage: Stage, shape: Shape) -> Report:
    """One case, on a system that runs already."""
    turns = _Turns(stage, shape, asyncio.run(_beside(stage.connection["database_url"])))
    return in_turns("bulk", "votes_per_s", shape.rounds, turns.ours, turns.baseline)


async def _beside(database_url: str) -> str:
    """A database of its own on the same server, migrated like the system's."""
    connection = await asyncpg.connect(database_url)
    await connection.execute(f"CREATE DATABASE {BASELINE_DATABASE}")
    await connection.close()
    url = urlsplit(database_url)._replace(path=f"/{BASELINE_DATABASE}").geturl()
    await migrate(url)
    return url
