"""What the indexer needs of its neighbours, in domain words; `app/wiring_index.py` joins them to the real parts.

A neighbour that does not answer raises an `OSError` (storage's outages are), the chain `ChainUnavailable`: both are
waited out and count against nobody.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AbstractContextManager, nullcontext
from typing import Any, Protocol

from domain.commands import Command
from domain.ids import MarketId, Wallet
from domain.indexed import (
    ConfirmedTransaction,
    Cursor,
    Due,
    EventRecord,
    InboxBody,
    IndexedTransaction,
    LetterKind,
    MarketEffect,
    PositionTouched,
    StoredEffect,
    WantedTransaction,
)
from domain.journal import AlertNote
from domain.outcomes import Outcome
from domain.positions import TradesOf


class MarketsAway(Exception):
    """The market's owner did not answer, or did not take the command; whether it was carried out may be unknown."""


class MarketBroke(Exception):
    """The market's actor met a bug of ours with this command; `incident` is in the log."""

    def __init__(self, incident: str) -> None:
        super().__init__(f"incident {incident}")
        self.incident = incident


class Markets(Protocol):
    """The way to the markets' actors."""

    async def submit_many(self, commands: Sequence[Command]) -> Sequence[Outcome | MarketsAway | MarketBroke]:
        """Carry out commands, each with an outcome or a failure of its own, in order; raises neither."""
        ...


class OpenTransaction(Protocol):
    """A database transaction that is open: statements of `queries.sql` by name."""

    async def fetch(self, name: str, *arguments: Any) -> Sequence[Mapping[str, Any]]:
        """The rows of the named statement, run inside the transaction."""
        ...


class Projector(Protocol):
    """Keeps tables of its own in step with the events, inside the transaction that writes these.

    Each event comes to `project` once, however often it is delivered; once more only after `dropped`. Events come in
    the order (slot, block_index, ordinal) within a call and in any order between calls, and several calls run at once:
    rows are written in a fixed order of keys, and newer facts are never overwritten by older ones (T43).
    """

    async def project(
        self, transaction: OpenTransaction, events: Sequence[EventRecord], positions: Sequence[PositionTouched]
    ) -> None:
        """Take in new events; `positions` are those that a transaction with a cut-off log changed (T35)."""
        ...

    async def dropped(self, transaction: OpenTransaction, events: Sequence[EventRecord]) -> None:
        """Take back events whose transaction was dropped with its slot (T42)."""
        ...


class NoProjection:
    """A projector without tables."""

    async def project(
        self, transaction: OpenTransaction, events: Sequence[EventRecord], positions: Sequence[PositionTouched]
    ) -> None:
        """Nothing."""

    async def dropped(self, transaction: OpenTransaction, events: Sequence[EventRecord]) -> None:
        """Nothing."""


class IndexTransaction(OpenTransaction, Protocol):
    """The writes of one open transaction; all of them are committed, or none."""

    async def take(self, transactions: Sequence[IndexedTransaction]) -> tuple[Sequence[EventRecord], frozenset[str]]:
        """Write transactions with their events; return the events and signatures that are new, or back after a drop.

        A signature that is taken is wanted no more.
        """
        ...

    async def want(self, wanted: Sequence[WantedTransaction], delay_s: float) -> None:
        """Have signatures read after `delay_s`; those that are read or wanted already stay as they are."""
        ...

    async def add_effects(self, effects: Sequence[MarketEffect]) -> None:
        """Have markets hear of something."""
        ...

    async def finish_bodies(self, inbox_ids: Sequence[int]) -> None:
        """These bodies are worked off."""
        ...

    async def finish_effects(self, effect_ids: Sequence[int]) -> None:
        """Markets have committed these."""
        ...

    async def defer_effects(self, effects: Mapping[int, float], reason: str, is_attempt: bool) -> None:
        """Repeat effects after so many seconds each; without `is_attempt` the try does not count."""
        ...

    async def bury(self, kind: LetterKind, body: bytes, error: str) -> None:
        """Give something up, to be replayed by an operator."""
        ...

    async def bury_effect(self, effect: MarketEffect, error: str) -> None:
        """Give an effect up."""
        ...

    async def move_cursor(self, cursor: Cursor, swept: bool) -> None:
        """Move the cursor on, never back; `swept` says that a sweep has ended with this."""
        ...

    async def promote(self, signatures: Sequence[str]) -> None:
        """These transactions are final."""
        ...

    async def moved_to(self, signature: str, slot: int) -> None:
        """A confirmed transaction stands in another slot than it did: its block was replaced."""
        ...

    async def drop(self, signatures: Sequence[str]) -> Sequence[EventRecord]:
        """These transactions never happened after all; returns their events, and forgets votes not yet counted."""
        ...

    async def raise_alerts(self, notes: Sequence[AlertNote]) -> None:
        """Store alerts; one that is open under the same key already stays as it is."""
        ...


class IndexStore(Protocol):
    """The indexer's tables. Every method raises `OSError` when the database does not answer."""

    def transaction(self) -> AbstractAsyncContextManager[IndexTransaction]:
        """Open a transaction; leaving commits, an exception undoes."""
        ...

    async def due(self) -> frozenset[Due]:
        """Of what something waits and is due; somebody else may be about to take it."""
        ...

    async def lease_bodies(self, limit: int, lease_s: float) -> Sequence[InboxBody]:
        """Take bodies that are due, oldest first; one that is not finished within the lease comes back."""
        ...

    async def return_bodies(self, inbox_ids: Sequence[int], delay_s: float, error: str, is_attempt: bool) -> None:
        """Give bodies back; without `is_attempt` the try does not count."""
        ...

    async def bury_body(self, inbox_id: int, error: str, note: AlertNote) -> None:
        """Give a whole body up: it becomes a dead letter, with an alert."""
        ...

    async def lease_wanted(self, limit: int, lease_s: float) -> Sequence[WantedTransaction]:
        """Take wanted signatures that are due, oldest first."""
        ...

    async def return_wanted(self, signatures: Mapping[str, float], error: str) -> None:
        """Have signatures read again after so many seconds each."""
        ...

    async def bury_wanted(self, signature: str, error: str, note: AlertNote) -> None:
        """Give a signature up: it becomes a dead letter, with an alert."""
        ...

    async def lease_effects(self, limit: int, lease_s: float) -> Sequence[StoredEffect]:
        """Take effects that are due, in the order in which they are to be heard."""
        ...

    async def known(self, signatures: Sequence[str]) -> frozenset[str]:
        """Those of the signatures that are read or wanted."""
        ...

    async def finalized(self, signatures: Sequence[str]) -> frozenset[str]:
        """Those of the signatures that are read and that no fork can take back."""
        ...

    async def market_ids(self, addresses: Sequence[Wallet]) -> Mapping[Wallet, MarketId]:
        """Which market lives at each address, as far as it is known here."""
        ...

    async def learn_addresses(self, known: Mapping[Wallet, MarketId]) -> None:
        """Keep which market lives where."""
        ...

    async def trades_around(
        self, market_id: MarketId, wallets: Sequence[Wallet], transaction: IndexedTransaction, slot_max: int
    ) -> Sequence[TradesOf]:
        """What trades of a market up to a slot come to without a transaction's, and what of it came before that.

        One for each of `wallets` that has any, and one for all others.
        """
        ...

    async def cursor(self) -> Cursor | None:
        """Where the last sweep stopped, None before the first."""
        ...

    async def confirmed(self, slot_max: int, limit: int) -> Sequence[ConfirmedTransaction]:
        """Transactions up to a slot that are not final yet, oldest first."""
        ...

    async def beat(self) -> None:
        """Say that an indexer lives and gets on."""
        ...

    async def prune_inbox(self, kept_s: float, limit: int) -> int:
        """Forget bodies that were finished longer ago, at most `limit`; returns how many."""
        ...


class Spans(Protocol):
    """Makes spans, where somebody wants traces."""

    def work(
        self, name: str, attributes: Mapping[str, str | int], asked_by: Sequence[str] = ()
    ) -> AbstractContextManager[None]:
        """A span around a piece of work that no call waits inside of; `asked_by` are the `traceparent`s it is for."""
        ...


class Unspanned:
    """Where nothing is traced."""

    def work(
        self,
        name: str,  # noqa: ARG002 - it keeps the signature of what it stands for
        attributes: Mapping[str, str | int],  # noqa: ARG002
        asked_by: Sequence[str] = (),  # noqa: ARG002
    ) -> AbstractContextManager[None]:
        """Nothing around it."""
        return nullcontext()
