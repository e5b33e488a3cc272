"""Compares what is stored with what the chain holds for good, and repairs what two looks agree on (T44, T45, P7)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import structlog

from chain.account_batches import AccountBatches
from chain.accounts import ACCOUNTS_MAX
from domain.commands import ObserveMarket
from domain.discrepancies import RunResult
from domain.ids import MarketId
from domain.journal import AlertNote
from domain.market import Market
from domain.positions import Holding, PositionRead, StoredPosition
from domain.reconciliation import (
    TERMINAL,
    Difference,
    Pair,
    Suspicion,
    judge,
    market_differences,
    position_differences,
    reported,
)
from indexer.ports import Markets

ALERT = "chain_discrepancy"

log = structlog.get_logger("indexer")


class ReconciliationRows(Protocol):
    """What is compared and what came of it. Every method raises `OSError`, and every write may be repeated."""

    async def markets_after(self, last: str, only: MarketId | None, limit: int) -> Sequence[MarketId]:
        """Markets to compare, by id, without terminal ones that were equal and have not changed since."""
        ...

    async def heard_slot(self) -> int | None:
        """Up to where the rows have heard of every event, None before the first sweep of the history."""
        ...

    async def markets(self, ids: Sequence[MarketId]) -> Mapping[MarketId, tuple[Market, Pair | None]]:
        """The rows as they are now, each with the last pair of its dispute that was sent and confirmed."""
        ...

    async def holdings_after(self, last: tuple[str, str], only: MarketId | None, limit: int) -> Sequence[Holding]:
        """Positions to compare."""
        ...

    async def positions(self, holdings: Sequence[Holding]) -> Sequence[StoredPosition]:
        """The rows as they are now."""
        ...

    async def note_clean_markets(self, ids: Sequence[MarketId], slot: int) -> None:
        """These terminal rows were equal to the chain at `slot`."""
        ...

    async def note_clean_positions(self, holdings: Sequence[Holding], slot: int) -> None:
        """These rows were equal to the chain at `slot`."""
        ...

    async def suspicions(self, ids: Sequence[MarketId]) -> Sequence[Suspicion]:
        """What earlier runs saw of these markets and of positions in them."""
        ...

    async def keep(self, kept: Sequence[Suspicion], gone: Sequence[Difference]) -> None:
        """Replace what is suspected."""
        ...

    async def add(self, found: Sequence[tuple[Difference, bool]]) -> None:
        """Store discrepancies, each with whether it was repaired."""
        ...


class SavedPositions(Protocol):
    """Where a position is repaired."""

    async def save(self, reads: Sequence[PositionRead]) -> Sequence[Holding]:
        """Keep reads; an older one never overwrites a newer one."""
        ...


class Alarm(Protocol):
    """Where people are told."""

    async def raise_alert(self, note: AlertNote) -> None:
        """Store an alert; one that is open under the same key is counted up."""
        ...


@dataclass(slots=True)
class _Tally:
    """What a run has come to so far."""

    checked: int = 0
    confirmed: list[tuple[Difference, bool]] = field(default_factory=list)

    def result(self) -> RunResult:
        repaired = sum(mended for _, mended in self.confirmed)
        return RunResult(self.checked, len(self.confirmed), repaired)


class Reconciler:
    """Compares all rows with the chain at finalized, a hundred accounts in a question.

    No false alarm while events are in flight: rows newer than the read are left out, tallies are while an attempt is
    under way, rows are read after the chain, and a difference counts when two runs saw it, the row did not move in
    between, and whatever the first of them saw has been heard of. Any number may run at once. `run` raises
    `ChainUnavailable`, `RpcRefused` or `OSError`; what it found by then stands.
    """

    def __init__(
        self,
        rows: ReconciliationRows,
        positions: SavedPositions,
        accounts: AccountBatches,
        markets: Markets,
        alarm: Alarm,
    ) -> None:
        self._rows = rows
        self._positions = positions
        self._accounts = accounts
        self._markets = markets
        self._alarm = alarm

    async def run(self, only: MarketId | None = None) -> RunResult:
        """One pass over everything, or over one market and its positions."""
        tally = _Tally()
        await self._compare_markets(only, tally)
        await self._compare_positions(only, tally)
        if tally.confirmed:
            await self._alarm.raise_alert(_alert(tally.confirmed))
        return tally.result()

    async def _compare_markets(self, only: MarketId | None, tally: _Tally) -> None:
        last = ""
        while ids := await self._rows.markets_after(last, only, ACCOUNTS_MAX):
            last = ids[-1]
            slot, chain = await self._accounts.markets(ids, is_final=True)
            heard_slot = await self._rows.heard_slot()  # before the rows, which then show all of it
            stored = await self._rows.markets(list(chain))
            seen = [
                difference
                for market_id, (market, dispute) in stored.items()
                for difference in market_differences(market, chain[market_id], slot, dispute)
            ]
            before = [s for s in await self._rows.suspicions(ids) if s.difference.wallet is None]
            await self._settle(seen, before, heard_slot, tally)
            differ = {difference.market_id for difference in seen}
            clean = [
                market_id
                for market_id, (market, _) in stored.items()
                if market.state in TERMINAL and market.observed_slot <= slot and market_id not in differ
            ]
            await self._rows.note_clean_markets(clean, slot)
            tally.checked += len(stored)

    async def _compare_positions(self, only: MarketId | None, tally: _Tally) -> None:
        last = ("", "")
        while holdings := await self._rows.holdings_after(last, only, ACCOUNTS_MAX):
            last = holdings[-1]
            slot, chain = await self._accounts.positions(holdings, is_final=True)
            heard_slot = await self._rows.heard_slot()
            stored = {row.holding: row for row in await self._rows.positions(list(chain))} if chain else {}
            seen = [d for holding, row in stored.items() for d in position_differences(row, chain[holding])]
            compared = set(holdings)
            before = [
                suspicion
                for suspicion in await self._rows.suspicions([holding.market_id for holding in holdings])
                if (suspicion.difference.market_id, suspicion.difference.wallet) in compared
            ]
            await self._settle(seen, before, heard_slot, tally)
            differ = {(difference.market_id, difference.wallet) for difference in seen}
            clean = [holding for holding, row in stored.items() if row.slot <= slot and holding not in differ]
            await self._rows.note_clean_positions(clean, slot)
            tally.checked += len(stored)

    async def _settle(
        self, seen: Sequence[Difference], before: Sequence[Suspicion], heard_slot: int | None, tally: _Tally
    ) -> None:
        """Judge one page: repair and store what is confirmed, and keep the rest for the next run."""
        verdict = judge(seen, before, heard_slot)
        repaired = [(difference, await self._repaired(difference)) for difference in verdict.confirmed]
        await self._rows.add(repaired)
        kept = [*verdict.kept, *(reported(difference) for difference, mended in repaired if not mended)]
        keys = {suspicion.difference.key for suspicion in kept}
        gone = [suspicion.difference for suspicion in before if suspicion.difference.key not in keys]
        if kept or gone:
            await self._rows.keep(kept, gone)
        tally.confirmed += repaired

    async def _repaired(self, difference: Difference) -> bool:
        """Set the row to what the chain has now, and see whether it took: the chain is the truth about itself."""
        log.error("discrepancy", **_facts(difference))
        if difference.wallet is not None:
            return await self._position_repaired(Holding(difference.market_id, difference.wallet), difference)
        return await self._market_repaired(difference)

    async def _position_repaired(self, holding: Holding, difference: Difference) -> bool:
        _, reads = await self._accounts.positions([holding], min_slot=difference.slot)
        await self._positions.save(list(reads.values()))
        rows = await self._rows.positions([holding])
        return all(
            difference.field not in {d.field for d in position_differences(row, reads[holding])}
            for row in rows
            if holding in reads
        )

    async def _market_repaired(self, difference: Difference) -> bool:
        """Through the market's actor, as everything that changes it; what only a person can mend is left to one."""
        slot, chain = await self._accounts.markets([difference.market_id], min_slot=difference.slot)
        observed = chain.get(difference.market_id)
        if observed is None:
            return False
        await self._markets.submit_many(
            [ObserveMarket(difference.market_id, observed, difference.field == "proposal_tally", is_repair=True)]
        )
        stored = await self._rows.markets([difference.market_id])
        return all(
            difference.field not in {d.field for d in market_differences(market, observed, slot, dispute)}
            for market, dispute in stored.values()
        )


def _facts(difference: Difference) -> dict[str, str]:
    return {
        "market_id": difference.market_id,
        "user": difference.wallet or "",
        "field": difference.field,
        "database": difference.database_value,
        "chain": difference.chain_value,
        "slot": str(difference.slot),
    }


def _alert(found: Sequence[tuple[Difference, bool]]) -> AlertNote:
    """One for all, open until somebody has looked: a thousand rows that differ have one cause (T46)."""
    unrepaired = [difference for difference, mended in found if not mended]
    first = (unrepaired or [difference for difference, _ in found])[0]
    facts = {"count": str(len(found)), "unrepaired": str(len(unrepaired)), **_facts(first)}
    severity = "CRITICAL" if unrepaired else "HIGH"
    return AlertNote(ALERT, severity, ALERT, first.market_id, facts)
