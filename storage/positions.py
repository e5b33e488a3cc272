"""Positions as the indexer keeps them: who waits to be read, what was read, and what is known for good."""

from collections.abc import Sequence

from domain.ids import MarketId, Wallet
from domain.positions import Holding, PositionRead, StoredPosition
from storage import codec, projected
from storage.database import Database


class PositionTable:
    """Rows of `positions` through the pool; every call raises StorageUnavailable."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def stale(self, limit: int, slot_max: int) -> Sequence[tuple[Holding, int]]:
        """Positions that events up to a slot have touched since they were read, the longest waiting first.

        Each with that slot; one beyond `slot_max` waits until the chain is there, and holds nobody up if it never is.
        """
        rows = await self._database.fetch("stale_positions", limit, slot_max)
        return [(projected.holding_of(row), row["touched_slot"]) for row in rows]

    async def save(self, reads: Sequence[PositionRead]) -> Sequence[Holding]:
        """Keep reads of the chain, and say which were newer; one that is older than the row changes nothing (T43).

        What they change is told on the wallets' channels, in the same commit; a hint of it that is lost costs the
        notifier's next look.
        """
        if not reads:
            return []
        rows = await self._database.fetch(
            "save_positions", *codec.columns([projected.read_row(read) for read in reads])
        )
        if rows and rows[0]["told_count"]:
            await self._database.fetch("wake_notifier")
        return [projected.holding_of(row) for row in rows]

    async def known(self, market_id: MarketId, wallet: Wallet, min_slot: int) -> StoredPosition | None:
        """The position as of `min_slot` or later, None when the table cannot say so.

        A row answers that was read by then and not touched since; or one that was read after trading had ended, for
        no instruction changes a position's shares once its market has left ACTIVE, and none leads back to it (CI 9).
        That no row is there says nothing: its event may be on its way.
        """
        rows = await self._database.fetch("known_position", market_id, wallet, min_slot)
        return projected.position_of(rows[0]) if rows else None
