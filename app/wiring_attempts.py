"""How the gRPC server sees attempts at instructions, over storage's rows."""

from __future__ import annotations

from app.retold import retold
from grpc_server import Attempt, BookUnavailable
from storage.transactions import PostgresTransactionStore


class Attempts:
    """Adapts storage's rows to the server's port."""

    def __init__(self, store: PostgresTransactionStore) -> None:
        self._store = store

    async def attempt(self, intent_id: str) -> Attempt | None:
        """Where one stands."""
        with retold(BookUnavailable):
            found = await self._store.standing(intent_id)
        return None if found is None else Attempt(intent_id, found[0], found[1] or "", found[2] or "")
