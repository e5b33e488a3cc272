"""What operators look at, in memory, for the gRPC server's tests."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from domain.connections import BridgeWord
from domain.deadlines import ClockName, Deadline
from domain.ids import MarketId
from domain.market import Market
from domain.refusals import MarketNotFound
from domain.shards import OwnedShard, ShardBeat, ShardProcess
from domain.standing import ActorStanding, AwaitedDeadline, LastDecision
from domain.transactions import ListedTransaction, TransactionFilter, TransactionPlace

AT_S = 1_800_000_000


class NoBridges:
    """Implements `grpc_server.ports.BridgeDesk`: nobody is connected anywhere."""

    async def order(self, is_kick: bool, wallet: str, limit: int, reason: str, asked_by: str) -> str:
        return "none"

    async def words(self, order_id: str) -> Sequence[BridgeWord]:
        return []


class OperatorRows:
    """Implements `grpc_server.ports.OperatorBook` over the markets of a `Town`."""

    def __init__(self, markets: Mapping[MarketId, Market]) -> None:
        self._markets = markets
        self.rows: list[ListedTransaction] = []
        self.silent_s = 1.0
        self.outage: Exception | None = None

    def put(self, market_id: MarketId, status: str = "sent", action: str = "finalize_market") -> ListedTransaction:
        """Record one more, a second after the one before."""
        number = len(self.rows) + 1
        at = datetime.fromtimestamp(AT_S + number, UTC)
        place = TransactionPlace((AT_S + number) * 1_000_000, f"00000000-0000-4000-8000-{number:012}")
        row = ListedTransaction(place, market_id, action, 1, status, f"sig{number}", 150, 0, "", at, at)
        self.rows.append(row)
        return row

    async def standing(self, market_id: MarketId) -> ActorStanding | MarketNotFound:
        if self.outage is not None:
            raise self.outage
        market = self._markets.get(market_id)
        if market is None:
            return MarketNotFound(market_id)
        awaited = AwaitedDeadline("window_end", Deadline(AT_S + 60, ClockName.CHAIN))
        decision = LastDecision(("FireDeadline",), ("IntentPlanned",), AT_S)
        return ActorStanding(market, (awaited,), True, decision, "here/0", "here", 77, 3, 2)

    async def virtual_shards(self) -> Sequence[OwnedShard]:
        return [OwnedShard(0, "here", 77, 3), OwnedShard(1, "", 0, 0)]

    async def shard_processes(self) -> Sequence[ShardProcess]:
        at = datetime.fromtimestamp(AT_S, UTC)
        return [ShardProcess(ShardBeat("here/0", "here", 77, 1, 12, 5, 4, 2, 1), at, at, self.silent_s)]

    async def transactions(
        self, wanted: TransactionFilter, after: TransactionPlace | None, limit: int
    ) -> Sequence[ListedTransaction]:
        found = [row for row in self.rows if _fits(row, wanted) and (after is None or row.place < after)]
        return sorted(found, key=lambda row: row.place, reverse=True)[:limit]


def _fits(row: ListedTransaction, wanted: TransactionFilter) -> bool:
    pairs: list[tuple[Any, Any]] = [
        (wanted.market_id, row.market_id),
        (wanted.status, row.status),
        (wanted.action, row.action),
        (wanted.transaction_id, row.place.transaction_id),
    ]
    return all(given in (None, found) for given, found in pairs)
