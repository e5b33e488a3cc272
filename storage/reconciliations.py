"""What the reconciliation reads and writes: rows to compare, suspicions, discrepancies, and who asked for a run."""

from collections.abc import Sequence

from domain.discrepancies import DiscrepancyPlace, RunResult, StoredDiscrepancy
from domain.ids import MarketId
from domain.market import Market
from domain.positions import Holding, StoredPosition
from domain.reconciliation import Difference, Pair, Suspicion
from storage import codec, projected
from storage.database import Database

PAGE_MAX = 1000
"""Rows of one answer."""
KEPT_RUNS_S = 7 * 24 * 3600
"""Finished runs stay this long, for people who ask what was compared."""


class Reconciliations:
    """Through the pool; every call raises StorageUnavailable, and every write may be repeated."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def markets_after(self, last: str, only: MarketId | None, limit: int) -> Sequence[MarketId]:
        """Markets to compare, by id; not the terminal ones that were equal and have not changed since (T45)."""
        rows = await self._database.fetch("markets_to_compare", last, only, min(limit, PAGE_MAX))
        return [row["market_id"] for row in rows]

    async def heard_slot(self) -> int | None:
        """Up to where the rows have heard of every event, None before the first sweep of the history."""
        return next((row["slot"] for row in await self._database.fetch("heard_slot")), None)

    async def markets(self, ids: Sequence[MarketId]) -> dict[MarketId, tuple[Market, Pair | None]]:
        """The rows as they are now, each with the last pair of its dispute that was sent and confirmed."""
        rows = await self._database.fetch("load_markets", list(ids))
        pairs = {
            row["market_id"]: Pair(row["submitted_yes"], row["submitted_no"])
            for row in await self._database.fetch("submitted_pairs", list(ids))
            if row["vote_type"] == "dispute"
        }
        return {row["market_id"]: (codec.market_of(row), pairs.get(row["market_id"])) for row in rows}

    async def holdings_after(self, last: tuple[str, str], only: MarketId | None, limit: int) -> Sequence[Holding]:
        """Positions to compare, by market and wallet."""
        rows = await self._database.fetch("positions_to_compare", *last, only, min(limit, PAGE_MAX))
        return [projected.holding_of(row) for row in rows]

    async def positions(self, holdings: Sequence[Holding]) -> Sequence[StoredPosition]:
        """The rows as they are now."""
        if not holdings:
            return []
        return [
            projected.position_of(row) for row in await self._database.fetch("positions_at", *codec.columns(holdings))
        ]

    async def note_clean_markets(self, ids: Sequence[MarketId], slot: int) -> None:
        """These terminal rows were equal to the chain at `slot`."""
        if ids:
            rows = [(market_id, str(slot)) for market_id in ids]
            await self._database.fetch("note_clean_markets", *codec.columns(rows))

    async def note_clean_positions(self, holdings: Sequence[Holding], slot: int) -> None:
        """These rows were equal to the chain at `slot`; only terminal markets' are remembered."""
        if holdings:
            rows = [(*holding, str(slot)) for holding in holdings]
            await self._database.fetch("note_clean_positions", *codec.columns(rows))

    async def suspicions(self, ids: Sequence[MarketId]) -> Sequence[Suspicion]:
        """What earlier runs saw of these markets and of positions in them."""
        return [projected.suspicion_of(row) for row in await self._database.fetch("suspicions", list(set(ids)))]

    async def keep(self, kept: Sequence[Suspicion], gone: Sequence[Difference]) -> None:
        """Replace what is suspected; a failure between the two leaves a suspicion too many, which the next run ends."""
        if gone:
            rows = [(d.market_id, d.wallet or "", d.field) for d in gone]
            await self._database.fetch("forget_suspicions", *codec.columns(rows))
        if kept:
            await self._database.fetch("keep_suspicions", *codec.columns([projected.suspicion_row(s) for s in kept]))

    async def add(self, found: Sequence[tuple[Difference, bool]]) -> None:
        """Store discrepancies, each with whether it was repaired."""
        if found:
            rows = [(*projected.difference_row(d), "true" if repaired else "false") for d, repaired in found]
            await self._database.fetch("add_discrepancies", *codec.columns(rows))

    async def list(
        self, market_id: MarketId | None, after: DiscrepancyPlace | None, limit: int
    ) -> Sequence[StoredDiscrepancy]:
        """Up to `limit` discrepancies right after a place, newest first."""
        at_us, row_id = after or (None, None)
        rows = await self._database.fetch("list_discrepancies", market_id, at_us, row_id, min(limit, PAGE_MAX))
        return [projected.discrepancy_of(row) for row in rows]

    async def ask(self, market_id: MarketId | None) -> str:
        """Ask the indexer for a run; its id. One that waits already serves all who ask for the same."""
        return str((await self._database.fetch("ask_for_reconciliation", market_id))[0]["id"])

    async def begin(self, dead_after_s: int) -> tuple[str, MarketId | None] | None:
        """Take the next run that was asked for, None when there is none."""
        rows = await self._database.fetch("begin_reconciliation", dead_after_s)
        return (rows[0]["id"], rows[0]["market_id"]) if rows else None

    async def end(self, run_id: str, result: RunResult) -> None:
        """Say how it ended, and forget runs that are long over."""
        error = None if result.error is None else codec.printable(result.error)
        figures = (result.checked, result.discrepancies, result.repaired, error)
        await self._database.fetch("end_reconciliation", run_id, *figures)
        await self._database.fetch("prune_reconciliations", KEPT_RUNS_S)

    async def result(self, run_id: str) -> RunResult | None:
        """How a run ended, None while it has not."""
        rows = await self._database.fetch("reconciliation_run", run_id)
        if not rows or not rows[0]["is_finished"]:
            return None
        return RunResult(rows[0]["checked"], rows[0]["discrepancies"], rows[0]["repaired"], rows[0]["error"])

    async def age_s(self) -> int | None:
        """How long ago a run over all markets was last asked for, None when it never was."""
        age_s = (await self._database.fetch("last_reconciliation"))[0]["age_s"]
        return None if age_s is None else int(age_s)
