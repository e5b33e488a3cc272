"""What operators look at, for the gRPC server: actors by way of the directory, the rest from the database."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

from app.retold import retold
from domain.ids import MarketId
from domain.refusals import MarketNotFound
from domain.shards import OwnedShard, ShardProcess
from domain.standing import ActorStanding, AskStanding
from domain.transactions import ListedTransaction, TransactionFilter, TransactionPlace
from grpc_server import BookUnavailable
from storage.operator_reads import OperatorReads


class OperatorDesk:
    """Adapts directory and storage to the gRPC server's port; `ask` raises the server's outages already."""

    def __init__(
        self, reads: OperatorReads, ask: Callable[[AskStanding], Awaitable[ActorStanding | MarketNotFound]]
    ) -> None:
        self._reads = reads
        self._ask = ask

    async def standing(self, market_id: MarketId) -> ActorStanding | MarketNotFound:
        """How the market's actor stands."""
        return await self._ask(AskStanding(market_id))

    async def virtual_shards(self) -> Sequence[OwnedShard]:
        """Who owns what."""
        with retold(BookUnavailable):
            return await self._reads.virtual_shards()

    async def shard_processes(self) -> Sequence[ShardProcess]:
        """The last word of every place."""
        with retold(BookUnavailable):
            return await self._reads.shard_processes()

    async def transactions(
        self, wanted: TransactionFilter, after: TransactionPlace | None, limit: int
    ) -> Sequence[ListedTransaction]:
        """A page of transactions."""
        with retold(BookUnavailable):
            return await self._reads.transactions(wanted, after, limit)
