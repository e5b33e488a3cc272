"""The way of a transaction from plan to end, as rows: written before the first send and after each news (T23)."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from domain.intents import OPEN_STATUSES, IntentStatus, StoredTransaction
from domain.journal import AlertNote
from domain.observed import ChainConfig, ObservedMarket
from storage import codec
from storage.database import Database
from storage.memory_tables import Attempt, MemoryDatabase

_S = IntentStatus
BEFORE = {
    _S.SIGNED: frozenset({_S.PLANNED}),
    _S.SENT: frozenset({_S.SIGNED}),
    _S.CONFIRMED: frozenset({_S.SIGNED, _S.SENT}),
    _S.FINALIZED: frozenset({_S.CONFIRMED}),
    _S.FAILED: OPEN_STATUSES,
    _S.EXPIRED: OPEN_STATUSES,
}
"""From which statuses each mark moves a row on."""
DONE_BY = {
    _S.SIGNED: frozenset({_S.SIGNED}),
    _S.SENT: frozenset({_S.SENT, _S.CONFIRMED, _S.FINALIZED, _S.FAILED, _S.EXPIRED}),
    _S.CONFIRMED: frozenset({_S.CONFIRMED, _S.FINALIZED}),
    _S.FINALIZED: frozenset({_S.FINALIZED}),
    _S.FAILED: frozenset({_S.FAILED}),
    _S.EXPIRED: frozenset({_S.EXPIRED}),
}
"""In which statuses a mark has nothing left to do: it, or one after it, was made before."""


class TransitionRefused(Exception):
    """The row is not where such a mark may be made, so somebody else worked on it: stop, and read it again."""

    def __init__(self, intent_id: str, wanted: IntentStatus, found: IntentStatus | None) -> None:
        super().__init__(f"intent {intent_id} cannot become {wanted}: it is {found or 'unknown'}")
        self.intent_id = intent_id
        self.wanted = wanted
        self.found = found


UNDONE = frozenset({_S.FAILED, _S.EXPIRED})
"""How a confirmed attempt ends whose slot was dropped."""


class PostgresTransactionStore:
    """Rows of `chain_transactions`; every mark is one guarded statement, and harmless when repeated.

    Raises TransitionRefused, or StorageUnavailable: then the outcome is unknown and the mark may be repeated.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    async def open_transactions(self, limit: int) -> Sequence[StoredTransaction]:
        """PLANNED, SIGNED and SENT ones, oldest first."""
        return [codec.transaction_of(row) for row in await self._database.fetch("open_transactions", limit)]

    async def confirmed_transactions(self, limit: int) -> Sequence[StoredTransaction]:
        """CONFIRMED ones, the longest confirmed first."""
        return [codec.transaction_of(row) for row in await self._database.fetch("confirmed_transactions", limit)]

    async def standing(self, intent_id: str) -> tuple[IntentStatus, str | None, str | None] | None:
        """Status, signature and error's name of one attempt; None for one that was never planned."""
        rows = await self._database.fetch("transaction_status", intent_id)
        return (IntentStatus(rows[0]["status"]), rows[0]["signature"], rows[0]["error_name"]) if rows else None

    async def fees_of_day(self) -> int:
        """Lamports that what was signed in the last 24 hours may have cost; what expired cost nothing."""
        return int((await self._database.fetch("fees_of_day"))[0]["lamports"])

    async def mark_signed(
        self,
        intent_id: str,
        raw: bytes,
        signature: str,
        blockhash: str,
        last_valid_block_height: int,
        fee_lamports: int = 0,
    ) -> None:
        """Keep the bytes before they are sent; refused when other bytes are kept already."""
        facts = (raw, signature, blockhash, last_valid_block_height, fee_lamports)
        await self._mark("mark_signed", intent_id, IntentStatus.SIGNED, facts, signature)

    async def mark_sent(self, intent_id: str) -> None:
        """The kept bytes were handed to the chain; the aggregation they carry is `submitted`."""
        await self._mark("mark_sent", intent_id, IntentStatus.SENT)

    async def mark_confirmed(self, intent_id: str, slot: int, observed: ObservedMarket | None) -> None:
        """It landed in `slot`; `observed` is the account as read afterwards."""
        facts = (slot, codec.observed_json(observed))
        await self._mark("mark_confirmed", intent_id, IntentStatus.CONFIRMED, facts)

    async def mark_finalized(self, intent_id: str, slot: int | None = None) -> None:
        """No fork can undo it any more; `slot` where it is final, if not where it was confirmed."""
        await self._mark("mark_finalized", intent_id, IntentStatus.FINALIZED, (slot,))

    async def mark_failed(self, intent_id: str, error_name: str, observed: ObservedMarket | None) -> None:
        """It can have no effect; `error_name` is the program's or our own word for why."""
        facts = (codec.printable(error_name), codec.observed_json(observed))
        await self._mark("mark_failed", intent_id, IntentStatus.FAILED, facts)

    async def mark_expired(
        self, intent_id: str, observed: ObservedMarket | None, error_name: str | None = None
    ) -> None:
        """Its blockhash is too old and it did not land; `error_name` is why a node refused it, where one did."""
        facts = (codec.observed_json(observed), _printable(error_name))
        await self._mark("mark_expired", intent_id, IntentStatus.EXPIRED, facts)

    async def mark_overdue(self, intent_id: str, error_name: str) -> bool:
        """One that was never signed ends as failed; False when it was signed in the meantime, or has ended."""
        return bool(await self._database.fetch("mark_overdue", intent_id, error_name))

    async def mark_undone(self, intent_id: str, error_name: str | None, observed: ObservedMarket | None) -> bool:
        """A confirmed one ends as failed or expired; False while its market has not taken the confirmation in.

        Without that wait a market could take in the one end and mark the other as taken in.
        """
        status = IntentStatus.EXPIRED if error_name is None else IntentStatus.FAILED
        facts = (status.value, _printable(error_name), codec.observed_json(observed))
        if await self._database.fetch("mark_undone", intent_id, *facts):
            return True
        rows = await self._database.fetch("transaction_status", intent_id)
        return _check_undone(intent_id, status, IntentStatus(rows[0]["status"]) if rows else None)

    async def raise_alert(self, note: AlertNote) -> None:
        """Store an alert; one under the same key that is not resolved counts up instead."""
        await self._database.fetch("raise_alerts", *codec.columns([codec.alert_row(note)]))

    async def save_config(self, config: ChainConfig) -> None:
        """Keep a read of GlobalConfig; one that is older than the kept one changes nothing (T43)."""
        await self._database.fetch("save_config", *codec.config_row(config))

    async def _mark(
        self,
        statement: str,
        intent_id: str,
        status: IntentStatus,
        facts: Sequence[Any] = (),
        signature: str | None = None,
    ) -> None:
        if await self._database.fetch(statement, intent_id, *facts):
            return
        rows = await self._database.fetch("transaction_status", intent_id)
        found = IntentStatus(rows[0]["status"]) if rows else None
        _check_done(intent_id, status, found, signature is None or rows[0]["signature"] == signature)


class MemoryTransactionStore:
    """The twin, over the tables of `MemoryDatabase`."""

    def __init__(self, database: MemoryDatabase) -> None:
        self._database = database

    async def open_transactions(self, limit: int) -> Sequence[StoredTransaction]:
        """PLANNED, SIGNED and SENT ones, oldest first."""
        attempts = [a for a in self._database.tables.attempts.values() if a.status in OPEN_STATUSES]
        return [_stored(attempt, self._database.now_s()) for attempt in attempts[:limit]]

    async def confirmed_transactions(self, limit: int) -> Sequence[StoredTransaction]:
        """CONFIRMED ones, the longest confirmed first."""
        attempts = [a for a in self._database.tables.attempts.values() if a.status is IntentStatus.CONFIRMED]
        oldest_first = sorted(attempts, key=lambda a: a.settled or 0)
        return [_stored(attempt, self._database.now_s()) for attempt in oldest_first[:limit]]

    async def fees_of_day(self) -> int:
        """As if no day had passed since the first one: the twin has no clock."""
        attempts = self._database.tables.attempts.values()
        return sum(a.fee_lamports for a in attempts if a.status is not IntentStatus.EXPIRED)

    async def mark_signed(
        self,
        intent_id: str,
        raw: bytes,
        signature: str,
        blockhash: str,
        last_valid_block_height: int,
        fee_lamports: int = 0,
    ) -> None:
        """Keep the bytes before they are sent; refused when other bytes are kept already."""
        facts = {"raw": raw, "signature": signature, "blockhash": blockhash, "fee_lamports": fee_lamports}
        moved = self._mark(
            intent_id, IntentStatus.SIGNED, {**facts, "last_valid_block_height": last_valid_block_height}
        )
        if not moved and self._database.tables.attempts[intent_id].signature != signature:
            raise TransitionRefused(intent_id, IntentStatus.SIGNED, IntentStatus.SIGNED)

    async def mark_sent(self, intent_id: str) -> None:
        """The kept bytes were handed to the chain; the aggregation they carry is `submitted`."""
        row = self._database.tables.aggregations.get(intent_id)
        if self._mark(intent_id, IntentStatus.SENT) and row and row.note.status == "pending":
            signature = self._database.tables.attempts[intent_id].signature
            submitted = replace(row, note=replace(row.note, status="submitted"), signature=signature)
            self._database.tables.aggregations[intent_id] = submitted

    async def mark_confirmed(self, intent_id: str, slot: int, observed: ObservedMarket | None) -> None:
        """It landed in `slot`; `observed` is the account as read afterwards."""
        self._settle(intent_id, IntentStatus.CONFIRMED, slot=slot, observed=observed)

    async def mark_finalized(self, intent_id: str, slot: int | None = None) -> None:
        """No fork can undo it any more; `slot` where it is final, if not where it was confirmed."""
        self._mark(intent_id, IntentStatus.FINALIZED, {} if slot is None else {"slot": slot})

    async def mark_failed(self, intent_id: str, error_name: str, observed: ObservedMarket | None) -> None:
        """It can have no effect; `error_name` is the program's or our own word for why."""
        facts = {"error_name": codec.printable(error_name), "observed": observed}
        self._settle(intent_id, IntentStatus.FAILED, **facts)

    async def mark_expired(
        self, intent_id: str, observed: ObservedMarket | None, error_name: str | None = None
    ) -> None:
        """Its blockhash is too old and it did not land; `error_name` is why a node refused it, where one did."""
        self._settle(intent_id, IntentStatus.EXPIRED, observed=observed, error_name=_printable(error_name))

    async def mark_overdue(self, intent_id: str, error_name: str) -> bool:
        """One that was never signed ends as failed; False when it was signed in the meantime, or has ended."""
        attempt = self._database.tables.attempts.get(intent_id)
        if attempt is None or attempt.status is not IntentStatus.PLANNED:
            return False
        self._settle(intent_id, IntentStatus.FAILED, error_name=error_name)
        return True

    async def mark_undone(self, intent_id: str, error_name: str | None, observed: ObservedMarket | None) -> bool:
        """A confirmed one ends as failed or expired; False while its market has not taken the confirmation in."""
        status = IntentStatus.EXPIRED if error_name is None else IntentStatus.FAILED
        attempt = self._database.tables.attempts.get(intent_id)
        if attempt is None or attempt.status is not IntentStatus.CONFIRMED or not attempt.applied:
            return _check_undone(intent_id, status, attempt.status if attempt else None)
        self._database.settled += 1
        self._database.tables.attempts[intent_id] = replace(
            attempt,
            status=status,
            applied=False,
            observed=observed,
            error_name=_printable(error_name),
            settled=self._database.settled,
        )
        return True

    async def raise_alert(self, note: AlertNote) -> None:
        """Store an alert; one under the same key that is not resolved counts up instead."""
        self._database.tables.raise_alert(note)

    async def save_config(self, config: ChainConfig) -> None:
        """Keep a read of GlobalConfig; one that is older than the kept one changes nothing (T43)."""
        kept = self._database.config
        if kept is None or kept.slot <= config.slot:
            self._database.config = config

    def _settle(self, intent_id: str, status: IntentStatus, **facts: Any) -> None:
        if self._mark(intent_id, status, {**facts, "settled": self._database.settled + 1}):
            self._database.settled += 1

    def _mark(self, intent_id: str, status: IntentStatus, facts: Mapping[str, Any] | None = None) -> bool:
        """Whether the row moved; raises TransitionRefused."""
        attempt: Attempt | None = self._database.tables.attempts.get(intent_id)
        if attempt is None or attempt.status not in BEFORE[status]:
            _check_done(intent_id, status, attempt.status if attempt else None)
            return False
        self._database.tables.attempts[intent_id] = replace(attempt, status=status, **(facts or {}))
        return True


def _stored(a: Attempt, now_s: float) -> StoredTransaction:
    age_s = int(now_s - a.planned_at_s)
    return StoredTransaction(a.intent, a.status, a.raw, a.signature, a.last_valid_block_height, age_s)


def _printable(error_name: str | None) -> str | None:
    return None if error_name is None else codec.printable(error_name)


def _check_undone(intent_id: str, wanted: IntentStatus, found: IntentStatus | None) -> bool:
    """Whether the row has ended already; raises TransitionRefused where a confirmation can no longer be undone."""
    if found is IntentStatus.CONFIRMED:
        return False
    if found not in UNDONE:
        raise TransitionRefused(intent_id, wanted, found)
    return True


def _check_done(intent_id: str, wanted: IntentStatus, found: IntentStatus | None, same: bool = True) -> None:
    if found not in DONE_BY[wanted] or not same:
        raise TransitionRefused(intent_id, wanted, found)
