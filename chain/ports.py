"""What sending transactions needs of storage, in domain words; `app/wiring.py` joins it to the real part."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Protocol

from domain.intents import Intent, StoredTransaction
from domain.journal import AlertNote
from domain.observed import ObservedMarket

__all__ = ["AlertNote", "AttemptLocks", "Spans", "StoredTransaction", "TransactionStore", "Unlocked", "Unspanned"]


class TransactionStore(Protocol):
    """The rows of `chain_transactions`; every method has committed when it returns, and raises when it cannot."""

    async def open_transactions(self, limit: int) -> Sequence[StoredTransaction]:
        """What may still land or is still to be signed, oldest first."""
        ...

    async def confirmed_transactions(self, limit: int) -> Sequence[StoredTransaction]:
        """What is confirmed and not final yet, the longest confirmed first."""
        ...

    async def fees_of_day(self) -> int:
        """Lamports that what was signed in the last 24 hours may have cost."""
        ...

    async def mark_signed(
        self,
        intent_id: str,
        raw: bytes,
        signature: str,
        blockhash: str,
        last_valid_block_height: int,
        fee_lamports: int = 0,
    ) -> None:
        """Keep the signed bytes; committed before the first send, so that a crash resends these, never others."""
        ...

    async def mark_sent(self, intent_id: str) -> None:
        """A node has taken the bytes."""
        ...

    async def mark_confirmed(self, intent_id: str, slot: int, observed: ObservedMarket | None) -> None:
        """It landed in `slot` and that slot is confirmed."""
        ...

    async def mark_finalized(self, intent_id: str, slot: int | None = None) -> None:
        """No fork can undo it any more; `slot` is where it is final, when that was not where it was confirmed."""
        ...

    async def mark_failed(self, intent_id: str, error_name: str, observed: ObservedMarket | None) -> None:
        """It was refused, or it landed and failed."""
        ...

    async def mark_expired(
        self, intent_id: str, observed: ObservedMarket | None, error_name: str | None = None
    ) -> None:
        """It is proven that it never landed and never can; `error_name` is why a node refused it, where one did."""
        ...

    async def mark_overdue(self, intent_id: str, error_name: str) -> bool:
        """One that was never signed failed without a look at the chain; False when it is not `planned` any more."""
        ...

    async def mark_undone(self, intent_id: str, error_name: str | None, observed: ObservedMarket | None) -> bool:
        """A confirmed one was dropped: failed under `error_name` where it was run again, else expired.

        Its market is told by a second settlement. False while the market has not yet taken in the first one.
        """
        ...

    async def raise_alert(self, note: AlertNote) -> None:
        """Store an alert; one under the same key that is not resolved counts up instead."""
        ...


class AttemptLocks(Protocol):
    """Keeps two workers from the tallies of one market (T12). Saves double work; safety is the store's."""

    async def hold(self, intents: Sequence[Intent]) -> None:
        """These attempts are in hand: take the locks they need, give back all others. Bounded, never raises."""
        ...

    def may_step(self, intent: Intent) -> bool:
        """Whether nobody else is known to hold the lock that this attempt needs."""
        ...


class Unlocked:
    """For one deployment without Redis: every attempt may go on."""

    async def hold(self, intents: Sequence[Intent]) -> None:
        """Nothing to take."""

    def may_step(self, intent: Intent) -> bool:  # noqa: ARG002 - it keeps the signature of what it stands for
        """Always."""
        return True


class Spans(Protocol):
    """Makes spans, where somebody wants traces."""

    def work(self, name: str, attributes: Mapping[str, str | int]) -> AbstractContextManager[None]:
        """A span around a piece of work that no call waits inside of."""
        ...


class Unspanned:
    """Where nothing is traced."""

    def work(self, name: str, attributes: Mapping[str, str | int]) -> AbstractContextManager[None]:  # noqa: ARG002
        """Nothing around it."""
        return nullcontext()
