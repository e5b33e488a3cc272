"""What sending transactions needs of storage, in domain words; `app/wiring.py` joins it to the real part."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from domain.intents import StoredTransaction
from domain.observed import ObservedMarket

__all__ = ["StoredTransaction", "TransactionStore"]


class TransactionStore(Protocol):
    """The rows of `chain_transactions`; every method has committed when it returns, and raises when it cannot."""

    async def open_transactions(self, limit: int) -> Sequence[StoredTransaction]:
        """What may still land or is still to be signed, oldest first."""
        ...

    async def mark_signed(
        self, intent_id: str, raw: bytes, signature: str, blockhash: str, last_valid_block_height: int
    ) -> None:
        """Keep the signed bytes; committed before the first send, so that a crash resends these, never others."""
        ...

    async def mark_sent(self, intent_id: str) -> None:
        """A node has taken the bytes."""
        ...

    async def mark_confirmed(self, intent_id: str, slot: int, observed: ObservedMarket | None) -> None:
        """It landed in `slot` and that slot is confirmed."""
        ...

    async def mark_finalized(self, intent_id: str) -> None:
        """Its slot is final; may come long after `mark_confirmed`."""
        ...

    async def mark_failed(self, intent_id: str, error_name: str, observed: ObservedMarket | None) -> None:
        """It was refused, or it landed and failed."""
        ...

    async def mark_expired(self, intent_id: str, observed: ObservedMarket | None) -> None:
        """It is proven that it never landed and never can."""
        ...
