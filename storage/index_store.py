"""The indexer's tables: what came in, what was read, what markets are to hear, what was given up.

`next_attempt_at` is also the lease of a row: a worker that dies leaves it behind, and the row comes back.
"""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from domain.ids import MarketId, Wallet
from domain.indexed import (
    ConfirmedTransaction,
    Cursor,
    Due,
    EventRecord,
    Finality,
    InboxBody,
    IndexedTransaction,
    LetterKind,
    MarketEffect,
    StoredEffect,
    WantedTransaction,
)
from domain.journal import AlertNote
from domain.positions import TradesOf
from storage import codec, index_codec
from storage.database import Database, OpenTransaction

INDEXER = "indexer"
"""The role that beats."""


@dataclass(frozen=True, slots=True)
class IndexStanding:
    """How far behind the way in is. None for what was not there yet: no waiting body, no sweep, no
    heartbeat."""

    inbox_age_s: float | None
    inbox_count: int
    wanted_count: int
    effect_count: int
    dead_count: int
    slot: int | None
    lag_slots: int | None
    swept_s: float | None
    beat_s: float | None = None
    """Seconds since an indexer last said that it gets on."""


class PostgresIndexTransaction:
    """`indexer.ports.IndexTransaction`: the writes of one open transaction."""

    def __init__(self, open_transaction: OpenTransaction, program_id: str) -> None:
        self._open = open_transaction
        self._program_id = program_id

    async def fetch(self, name: str, *arguments: Any) -> Sequence[Mapping[str, Any]]:
        """The rows of the named statement."""
        return await self._open.fetch(name, *arguments)

    async def take(self, transactions: Sequence[IndexedTransaction]) -> tuple[Sequence[EventRecord], frozenset[str]]:
        """Write transactions with their events, and return what of them is new or back after a drop."""
        distinct = {transaction.signature: transaction for transaction in reversed(transactions)}
        if not distinct:
            return [], frozenset()
        rows = await self._write("take_transactions", [index_codec.transaction_row(t) for t in distinct.values()])
        taken = frozenset(row["signature"] for row in rows)
        await self.fetch("forget_wanted", sorted(distinct))
        if not taken:
            return [], taken
        events = [event for signature in taken for event in distinct[signature].events]
        fresh = await self._write("take_events", [index_codec.event_row(event) for event in events])
        await self.fetch("place_events", sorted(taken))
        new = {(row["transaction_signature"], row["event_index"]) for row in fresh}
        return sorted((e for e in events if (e.signature, e.ordinal) in new), key=_place), taken

    async def want(self, wanted: Sequence[WantedTransaction], delay_s: float) -> None:
        """Have signatures read after `delay_s`; those that are read or wanted already stay as they are."""
        distinct = {each.signature: each for each in wanted}
        if distinct:
            columns = codec.columns([index_codec.wanted_row(each) for each in distinct.values()])
            await self.fetch("want_transactions", *columns, delay_s)

    async def add_effects(self, effects: Sequence[MarketEffect]) -> None:
        """Have markets hear of something."""
        await self._write("add_effects", [index_codec.effect_row(effect) for effect in effects])

    async def finish_bodies(self, inbox_ids: Sequence[int]) -> None:
        """These bodies are worked off."""
        await self.fetch("finish_bodies", _texts(inbox_ids))

    async def finish_effects(self, effect_ids: Sequence[int]) -> None:
        """Markets have committed these."""
        await self.fetch("finish_effects", _texts(effect_ids))

    async def defer_effects(self, effects: Mapping[int, float], reason: str, is_attempt: bool) -> None:
        """Repeat effects after so many seconds each."""
        if effects:
            columns = codec.columns([(str(effect_id), str(delay_s)) for effect_id, delay_s in effects.items()])
            await self.fetch("defer_effects", *columns, index_codec.words(reason), is_attempt)

    async def bury(self, kind: LetterKind, body: bytes, error: str) -> None:
        """Give something up, to be replayed by an operator."""
        await self.fetch("bury", kind.value, body, index_codec.words(error))

    async def bury_effect(self, effect: MarketEffect, error: str) -> None:
        """Give an effect up."""
        await self.bury(LetterKind.EFFECT, index_codec.effect_body(effect), error)

    async def move_cursor(self, cursor: Cursor, swept: bool) -> None:
        """Move the cursor on, never back."""
        place = (self._program_id, cursor.slot, cursor.signature, cursor.finalized_slot)
        await self.fetch("move_cursor", *place, swept)

    async def promote(self, signatures: Sequence[str]) -> None:
        """These transactions are final."""
        await self._settle(signatures, Finality.FINALIZED)

    async def moved_to(self, signature: str, slot: int) -> None:
        """A confirmed transaction stands in another slot than it did."""
        await self.fetch("move_transaction", signature, slot)

    async def drop(self, signatures: Sequence[str]) -> Sequence[EventRecord]:
        """These transactions never happened; returns their events, and forgets votes not yet counted."""
        await self.fetch("forget_votes", list(signatures))
        return await self._settle(signatures, Finality.DROPPED)

    async def raise_alerts(self, notes: Sequence[AlertNote]) -> None:
        """Store alerts; one that is open under the same key already stays as it is."""
        await self._write("raise_alerts", [codec.alert_row(note) for note in notes])

    async def _settle(self, signatures: Sequence[str], finality: Finality) -> Sequence[EventRecord]:
        rows = await self.fetch("settle_transactions", list(signatures), finality.value)
        settled = [row["signature"] for row in rows]
        events = await self.fetch("settle_events", settled, finality.value)
        return sorted((index_codec.event_of(row) for row in events), key=_place)

    async def _write(self, name: str, rows: Sequence[Sequence[str | None]]) -> Sequence[Mapping[str, Any]]:
        """One statement for all rows, and none for no rows."""
        return await self.fetch(name, *codec.columns(rows)) if rows else []


class PostgresIndexStore:
    """`indexer.ports.IndexStore` over a pool; every method raises StorageUnavailable."""

    def __init__(self, database: Database, program_id: str) -> None:
        self._database = database
        self._program_id = program_id

    @property
    def database(self) -> Database:
        """The pool, for whoever works on the same tables."""
        return self._database

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[PostgresIndexTransaction]:
        """Open a transaction; leaving commits, an exception undoes."""
        async with self._database.transaction() as opened:
            yield PostgresIndexTransaction(opened, self._program_id)

    async def due(self) -> frozenset[Due]:
        """Of what something waits and is due; somebody else may be about to take it."""
        (row,) = await self._database.fetch("index_due")
        return frozenset(due for due in Due if row[due.value])

    async def lease_bodies(self, limit: int, lease_s: float) -> Sequence[InboxBody]:
        """Take bodies that are due, oldest first."""
        rows = await self._database.fetch("lease_bodies", limit, lease_s)
        return sorted((index_codec.body_of(row) for row in rows), key=lambda body: body.inbox_id)

    async def return_bodies(self, inbox_ids: Sequence[int], delay_s: float, error: str, is_attempt: bool) -> None:
        """Give bodies back."""
        words = index_codec.words(error)
        await self._database.fetch("return_bodies", _texts(inbox_ids), delay_s, words, is_attempt)

    async def bury_body(self, inbox_id: int, error: str, note: AlertNote) -> None:
        """Give a whole body up: it becomes a dead letter, with an alert."""
        async with self.transaction() as opened:
            await opened.fetch("bury_body", inbox_id, index_codec.words(error))
            await opened.raise_alerts([note])

    async def lease_wanted(self, limit: int, lease_s: float) -> Sequence[WantedTransaction]:
        """Take wanted signatures that are due, oldest first."""
        rows = await self._database.fetch("lease_wanted", limit, lease_s)
        return sorted((index_codec.wanted_of(row) for row in rows), key=lambda wanted: wanted.slot or 0)

    async def return_wanted(self, signatures: Mapping[str, float], error: str) -> None:
        """Have signatures read again after so many seconds each."""
        if signatures:
            columns = codec.columns([(signature, str(delay_s)) for signature, delay_s in signatures.items()])
            await self._database.fetch("return_wanted", *columns, index_codec.words(error))

    async def bury_wanted(self, signature: str, error: str, note: AlertNote) -> None:
        """Give a signature up: it becomes a dead letter, with an alert."""
        async with self.transaction() as opened:
            await opened.fetch("forget_wanted", [signature])
            await opened.bury(LetterKind.TRANSACTION, signature.encode(), error)
            await opened.raise_alerts([note])

    async def lease_effects(self, limit: int, lease_s: float) -> Sequence[StoredEffect]:
        """Take effects that are due, in the order in which they are to be heard."""
        rows = await self._database.fetch("lease_effects", limit, lease_s)
        return sorted(
            (index_codec.effect_of(row) for row in rows), key=lambda stored: (stored.effect.slot, stored.effect_id)
        )

    async def known(self, signatures: Sequence[str]) -> frozenset[str]:
        """Those of the signatures that are read or wanted."""
        rows = await self._database.fetch("known_transactions", list(signatures))
        return frozenset(row["signature"] for row in rows)

    async def finalized(self, signatures: Sequence[str]) -> frozenset[str]:
        """Those of the signatures that no fork can take back."""
        rows = await self._database.fetch("finalized_transactions", list(signatures))
        return frozenset(row["signature"] for row in rows)

    async def market_ids(self, addresses: Sequence[Wallet]) -> Mapping[Wallet, MarketId]:
        """Which market lives at each address, as far as it is known here."""
        rows = await self._database.fetch("market_ids_at", list(addresses))
        return {row["pda"]: row["market_id"] for row in rows}

    async def learn_addresses(self, known: Mapping[Wallet, MarketId]) -> None:
        """Keep which market lives where."""
        if known:
            await self._database.fetch("learn_addresses", *codec.columns(list(known.items())))

    async def trades_around(
        self, market_id: MarketId, wallets: Sequence[Wallet], transaction: IndexedTransaction, slot_max: int
    ) -> Sequence[TradesOf]:
        """What trades of a market up to a slot come to without a transaction's, and what of it came before that."""
        place = (transaction.signature, transaction.slot, transaction.block_index)
        rows = await self._database.fetch("trades_around", market_id, list(wallets), *place, slot_max)
        return [TradesOf(**row) for row in rows]

    async def cursor(self) -> Cursor | None:
        """Where the last sweep stopped, None before the first."""
        rows = await self._database.fetch("indexer_cursor", self._program_id)
        return Cursor(rows[0]["slot"], rows[0]["signature"], rows[0]["finalized_slot"]) if rows else None

    async def confirmed(self, slot_max: int, limit: int) -> Sequence[ConfirmedTransaction]:
        """Transactions up to a slot that are not final yet, oldest first."""
        rows = await self._database.fetch("confirmed_signatures", slot_max, limit)
        return [ConfirmedTransaction(row["signature"], row["slot"]) for row in rows]

    async def prune_inbox(self, kept_s: float, limit: int) -> int:
        """Forget bodies that were finished longer ago, at most `limit`; returns how many."""
        return len(await self._database.fetch("prune_inbox", kept_s, limit))

    async def beat(self) -> None:
        """Say that an indexer lives and gets on."""
        await self._database.fetch("role_beat", INDEXER)

    async def standing(self) -> IndexStanding:
        """How far behind the way in is."""
        (row,) = await self._database.fetch("indexer_standing", self._program_id)
        return IndexStanding(**row)


def _place(event: EventRecord) -> tuple[int, int, str, int]:
    """The order on chain; a place in the block that is not known comes last."""
    index = event.block_index if event.block_index is not None else 2**31
    return event.slot, index, event.signature, event.ordinal


def _texts(ids: Sequence[int]) -> list[str]:
    return [str(each) for each in ids]
