"""Orders to the WebSocket bridges, for the gRPC server."""

from __future__ import annotations

from collections.abc import Sequence

from app.retold import retold
from domain.connections import BridgeWord
from grpc_server import BookUnavailable
from storage.bridges import BridgeBook


class BridgeRows:
    """Adapts storage to the gRPC server's port."""

    def __init__(self, book: BridgeBook) -> None:
        self._book = book

    async def order(self, is_kick: bool, wallet: str, limit: int, reason: str, asked_by: str) -> str:
        """Ask every bridge."""
        with retold(BookUnavailable):
            return await self._book.order(is_kick, wallet, limit, reason, asked_by)

    async def words(self, order_id: str) -> Sequence[BridgeWord]:
        """Who lives or has answered."""
        with retold(BookUnavailable):
            return await self._book.words(order_id)
