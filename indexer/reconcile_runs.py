"""When the reconciliation runs: by the timer, and when an operator asks, by a row: nobody needs an address."""

from __future__ import annotations

from typing import Protocol

import structlog

from chain.rpc import ChainUnavailable, RpcRefused
from domain.discrepancies import RunResult
from domain.ids import MarketId
from indexer.ports import Spans, Unspanned
from indexer.reconcile import Reconciler

DEAD_AFTER_S = 300
"""A run that was begun and not ended for so long has lost its worker, and is begun again."""

log = structlog.get_logger("indexer")


class RunRows(Protocol):
    """Runs that were asked for. Every method raises `OSError`."""

    async def ask(self, market_id: MarketId | None) -> str:
        """Ask for a run; one that waits already serves all who ask for the same."""
        ...

    async def begin(self, dead_after_s: int) -> tuple[str, MarketId | None] | None:
        """Take the next run, None when there is none; no two workers get the same."""
        ...

    async def end(self, run_id: str, result: RunResult) -> None:
        """Say how it ended."""
        ...

    async def age_s(self) -> int | None:
        """How long ago a run over everything was last asked for, None when it never was."""
        ...


class ReconcileRuns:
    """Works off runs, one at a time; of several processes one takes each. The timer is the newest row's age."""

    def __init__(self, rows: RunRows, reconciler: Reconciler, every_s: int, spans: Spans | None = None) -> None:
        self._spans = spans or Unspanned()
        self._rows = rows
        self._reconciler = reconciler
        self._every_s = every_s

    async def step(self) -> bool:
        """Run once if it is time or somebody asked; False when not. An outage ends the run and is answered."""
        age_s = await self._rows.age_s()
        if age_s is None or age_s >= self._every_s:
            await self._rows.ask(None)
        begun = await self._rows.begin(DEAD_AFTER_S)
        if begun is None:
            return False
        run_id, market_id = begun
        with self._spans.work("reconciliation", {"zmart.run_id": run_id, "zmart.market_id": market_id or "all"}):
            result = await self._result(market_id)
            await self._rows.end(run_id, result)
        log.info("reconciled", market_id=market_id, checked=result.checked, discrepancies=result.discrepancies)
        return True

    async def _result(self, market_id: MarketId | None) -> RunResult:
        try:
            return await self._reconciler.run(market_id)
        except (OSError, ChainUnavailable, RpcRefused) as outage:
            log.warning("reconciliation.waits", error=str(outage))
            return RunResult(error=str(outage))
