"""What operators look at: who owns what, how shard processes stand, and which transactions there are."""

from collections.abc import Sequence

from domain.shards import OwnedShard, ShardBeat, ShardProcess
from domain.transactions import ListedTransaction, TransactionFilter, TransactionPlace
from storage.codec import Row
from storage.database import Database

PAGE_MAX = 1000
"""Rows of one answer; the API's own limit is lower."""


class OperatorReads:
    """Reads through the pool; every call raises StorageUnavailable."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def virtual_shards(self) -> Sequence[OwnedShard]:
        """Every virtual shard, by number."""
        rows = await self._database.fetch("list_virtual_shards")
        return [OwnedShard(row["id"], row["host"], row["pid"], row["epoch"]) for row in rows]

    async def shard_processes(self) -> Sequence[ShardProcess]:
        """The last word of every place, by its name."""
        return [_process(row) for row in await self._database.fetch("list_heartbeats")]

    async def transactions(
        self, wanted: TransactionFilter, after: TransactionPlace | None, limit: int
    ) -> Sequence[ListedTransaction]:
        """Up to `limit` transactions right after a place, newest first."""
        place = after or (None, None)
        conditions = (wanted.market_id, wanted.status, wanted.action, wanted.transaction_id)
        rows = await self._database.fetch("list_transactions", *conditions, *place, min(limit, PAGE_MAX))
        return [_transaction(row) for row in rows]


def _process(row: Row) -> ShardProcess:
    beat = ShardBeat(
        slot=row["slot"],
        host=row["host"],
        pid=row["pid"],
        virtual_shards=row["virtual_shards"],
        resident_markets=row["resident_markets"],
        deadlines=row["deadlines"],
        lag_s=row["lag_s"],
        restarts=row["restarts"],
        recent_losses=row["recent_losses"],
    )
    return ShardProcess(beat, row["started_at"], row["beat_at"], row["silent_s"])


def _transaction(row: Row) -> ListedTransaction:
    return ListedTransaction(
        place=TransactionPlace(row["planned_us"], row["transaction_id"]),
        market_id=row["market_id"],
        action=row["action"],
        attempt=row["attempt"],
        status=row["status"],
        signature=row["signature"],
        last_valid_block_height=int(row["last_valid_block_height"]),
        slot=int(row["slot"]),
        error_name=row["error_name"],
        planned_at=row["planned_at"],
        updated_at=row["updated_at"],
    )
