"""Writes what new events come to, inside the transaction that stores them (T32, H4)."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from domain.indexed import EventRecord, PositionTouched
from domain.positions import Holding
from domain.projection import projection_of
from storage import codec, projected

Rows = Sequence[tuple[str, ...]]


class OpenTransaction(Protocol):
    """A transaction of the indexer."""

    async def fetch(self, name: str, *arguments: Any) -> Sequence[Mapping[str, Any]]:
        """The rows of the named statement."""
        ...


class Projections:
    """Positions, trades and counts: `indexer.ports.Projector`.

    Locks are taken in one order (positions, then counts, each by key), so that workers never wait for each other in a
    circle. Positions are only marked here: a position is what its account shows, never a sum of events (CI 7.1).
    """

    async def project(
        self, transaction: OpenTransaction, events: Sequence[EventRecord], positions: Sequence[PositionTouched]
    ) -> None:
        """Take in new events, each once; `positions` are those that a transaction with a cut-off log changed (T35)."""
        projection = projection_of(events)
        touched = dict(projection.touched)
        for position in positions:
            holding = Holding(position.market_id, position.user)
            touched[holding] = max(touched.get(holding, 0), position.slot)
        await _write(transaction, "add_trades", [projected.trade_row(trade) for trade in projection.trades])
        await _write(transaction, "touch_positions", [(*holding, str(slot)) for holding, slot in touched.items()])
        ended = [(market_id, str(slot)) for market_id, slot in projection.ended.items()]
        await _write(transaction, "touch_markets_positions", ended)
        await _write(transaction, "count_events", [(*key, str(count)) for key, count in projection.counts.items()])

    async def dropped(self, transaction: OpenTransaction, events: Sequence[EventRecord]) -> None:
        """Take back events whose slot was dropped: what was read on that fork is read again, later (T42)."""
        projection = projection_of(events)
        trades = [(trade.transaction_signature, str(trade.event_index)) for trade in projection.trades]
        await _write(transaction, "drop_trades", trades)
        await _write(transaction, "distrust_positions", [tuple(holding) for holding in projection.touched])
        await _write(transaction, "distrust_markets_positions", [(market_id,) for market_id in projection.ended])
        await _write(transaction, "count_events", [(*key, str(-count)) for key, count in projection.counts.items()])


async def _write(transaction: OpenTransaction, name: str, rows: Rows) -> None:
    if rows:
        await transaction.fetch(name, *codec.columns(rows))
