"""Transactions that cannot be lost and cannot be doubled: every row is driven to its end, whatever dies on the way.

Signed bytes are stored before they are first sent, and the same bytes are sent until they land or are proven expired.
So a crash, a lost answer or a second agent can only repeat bytes, and Solana executes identical bytes once.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import structlog

from chain.client import ChainReader
from chain.failures import ALREADY_PROCESSED, PASSING
from chain.gateway import STATUSES_MAX, Gateway
from chain.keys import SigningKeys
from chain.plan import ChainFacts, Step, next_step
from chain.ports import TransactionStore
from chain.program import UndecodableAccount
from chain.rpc import RETRY_AFTER_S_MAX, ChainUnavailable, Sleep
from chain.signing import FreshBlockhash, KeyMissing, sign
from domain.intents import IntentStatus, Settlement, StoredTransaction
from domain.observed import ObservedMarket

NO_ADMIN_KEY = "AdminKeyMissing"
"""Error name of an intent that needs a key this backend does not hold."""

T = TypeVar("T")

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class SenderSettings:
    """Rhythm and bounds of sending."""

    resend_s: float = 2.0
    """The same bytes are sent again this often until they land (C4)."""
    poll_s: float = 0.4
    """A look at the chain per slot while anything is open."""
    idle_s: float = 5.0
    """With nothing open, rows are looked for this often even without a wake-up."""
    backoff_s_min: float = 0.5
    backoff_s_max: float = 10.0
    open_max: int = STATUSES_MAX
    """Rows in hand at once, so that one request follows all of them."""
    concurrency: int = 16
    """Steps taken at once."""
    remembered_max: int = 4_096
    """Send times and signatures kept in memory; forgetting one costs a repeated send, never a second execution."""


class Sender:
    """Drives stored transactions; one per process. It owns no truth: all that matters is in the rows."""

    def __init__(
        self,
        reader: ChainReader,
        keys: SigningKeys,
        store: TransactionStore,
        *,
        settings: SenderSettings | None = None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Sleep = asyncio.sleep,
    ) -> None:
        self._reader = reader
        self._gateway = Gateway(reader.rpc)
        self._keys = keys
        self._store = store
        self._settings = settings or SenderSettings()
        self._clock = clock
        self._sleep = sleep
        self._sent_at: OrderedDict[str, float] = OrderedDict()
        self._never_sent: OrderedDict[str, None] = OrderedDict()
        """Signed by this process and not yet handed to any node: only then is a refusal the last word."""
        self._signatures: OrderedDict[str, None] = OrderedDict()

    async def run(self, wake: asyncio.Event, on_settled: Callable[[Settlement], None]) -> None:
        """Drive everything that is open, until cancelled; a chain that does not answer is waited for.

        `on_settled` is called after the row is committed. Whatever the store raises ends the run; a new one resumes.
        """
        pause_s = self._settings.backoff_s_min
        while True:
            wake.clear()
            try:
                rest_s = await self._round(on_settled)
            except ChainUnavailable as outage:
                wait_s = max(pause_s, min(outage.facts.retry_after_s or 0.0, RETRY_AFTER_S_MAX))
                _log.warning("chain.unavailable", fault=str(outage), wait_s=wait_s)
                await self._sleep(wait_s)
                pause_s = min(pause_s * 2, self._settings.backoff_s_max)
                continue
            pause_s = self._settings.backoff_s_min
            if rest_s:
                await self._rest(wake, rest_s)

    async def advance(self, stored: StoredTransaction) -> Settlement | None:
        """Take one step with one transaction, from whatever state a crash left it in; a settlement when it ended.

        Raises `ChainUnavailable` when the chain does not answer: the row then stands as it stood.
        """
        facts, fresh = await self._look([stored])
        return await self._take(stored, facts.get(stored.signature or ""), fresh)

    async def _round(self, on_settled: Callable[[Settlement], None]) -> float:
        """One step with every open row; returns how long to rest, 0 when there is more to do at once."""
        rows = await self._store.open_transactions(self._settings.open_max)
        if not rows:
            return self._settings.idle_s
        facts, fresh = await self._look(rows)
        turns = asyncio.Semaphore(self._settings.concurrency)

        async def one(stored: StoredTransaction) -> Settlement | None:
            async with turns:
                return await self._take(stored, facts.get(stored.signature or ""), fresh)

        outcomes = await asyncio.gather(*map(one, rows), return_exceptions=True)
        for outcome in outcomes:
            if isinstance(outcome, Settlement):
                on_settled(outcome)
        for outcome in outcomes:
            if isinstance(outcome, BaseException):
                raise outcome
        is_moving = any(row.status is IntentStatus.PLANNED for row in rows) or any(outcomes)
        return 0.0 if is_moving else self._settings.poll_s

    async def _rest(self, wake: asyncio.Event, rest_s: float) -> None:
        waits = [asyncio.ensure_future(wake.wait()), asyncio.ensure_future(self._sleep(rest_s))]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for waiting in waits:
                waiting.cancel()
            await asyncio.gather(*waits, return_exceptions=True)

    async def _look(self, rows: Sequence[StoredTransaction]) -> tuple[dict[str, ChainFacts], FreshBlockhash | None]:
        signatures = [row.signature for row in rows if row.signature is not None]
        facts = await self._gateway.facts(signatures) if signatures else {}
        is_signing = any(row.status is IntentStatus.PLANNED for row in rows)
        return facts, await self._gateway.fresh_blockhash() if is_signing else None

    async def _take(
        self, stored: StoredTransaction, facts: ChainFacts | None, fresh: FreshBlockhash | None
    ) -> Settlement | None:
        match next_step(stored, facts, self._is_send_due(stored.intent.intent_id)):
            case Step.SIGN:
                assert fresh is not None
                return await self._sign(stored, fresh)
            case Step.SEND:
                return await self._send(stored)
            case Step.CONFIRM:
                return await self._confirm(stored, facts)
            case Step.FAIL:
                return await self._fail_landed(stored, facts)
            case Step.EXPIRE:
                return await self._expire(stored, facts)
            case Step.WAIT:
                return None

    async def _sign(self, stored: StoredTransaction, fresh: FreshBlockhash) -> Settlement | None:
        intent = stored.intent
        try:
            signed = sign(intent, self._reader.program, self._keys, fresh)
        except KeyMissing:
            return await self._fail(stored, NO_ADMIN_KEY)
        if signed.signature in self._signatures:
            # the same attempt in the same block: identical bytes would be the old transaction again
            await self._sleep(self._settings.poll_s)
            return None
        await self._store.mark_signed(
            intent.intent_id, signed.raw, signed.signature, signed.blockhash, signed.last_valid_block_height
        )
        self._remember(self._signatures, signed.signature, None)
        self._remember(self._never_sent, intent.intent_id, None)
        return None

    async def _send(self, stored: StoredTransaction) -> Settlement | None:
        assert stored.raw is not None
        intent_id = stored.intent.intent_id
        is_first = self._never_sent.pop(intent_id, self) is None
        self._remember(self._sent_at, intent_id, self._clock())
        answer = await self._gateway.send(stored.raw, preflight=stored.status is IntentStatus.SIGNED)
        if answer.refusal is None or answer.refusal == ALREADY_PROCESSED:
            if stored.status is IntentStatus.SIGNED:
                await self._store.mark_sent(intent_id)
            return None
        _log.info("transaction.refused", intent_id=intent_id, error=answer.refusal, is_first=is_first)
        if not is_first:
            return None  # a node may already hold these bytes, so only the chain can say how they end
        if answer.refusal in PASSING:
            self._remember(self._never_sent, intent_id, None)
            return None
        return await self._fail(stored, answer.refusal)

    async def _confirm(self, stored: StoredTransaction, facts: ChainFacts | None) -> Settlement:
        assert facts is not None and facts.sighting is not None
        slot = facts.sighting.slot
        observed = await self._observe(stored, slot)
        await self._store.mark_confirmed(stored.intent.intent_id, slot, observed)
        return self._settled(stored, IntentStatus.CONFIRMED, slot, None, observed)

    async def _fail_landed(self, stored: StoredTransaction, facts: ChainFacts | None) -> Settlement:
        assert facts is not None and facts.sighting is not None and stored.signature is not None
        name = await self._gateway.landed_failure(stored.signature, facts.sighting)
        return await self._fail(stored, name, facts.sighting.slot)

    async def _fail(self, stored: StoredTransaction, name: str, slot: int | None = None) -> Settlement:
        observed = await self._observe(stored, slot)
        await self._store.mark_failed(stored.intent.intent_id, name, observed)
        return self._settled(stored, IntentStatus.FAILED, slot, name, observed)

    async def _expire(self, stored: StoredTransaction, facts: ChainFacts | None) -> Settlement:
        assert facts is not None
        observed = await self._observe(stored, facts.finalized_slot)
        await self._store.mark_expired(stored.intent.intent_id, observed)
        return self._settled(stored, IntentStatus.EXPIRED, None, None, observed)

    async def _observe(self, stored: StoredTransaction, min_slot: int | None) -> ObservedMarket | None:
        """The market after the attempt, at a slot no older than it; None also for an account that is no market."""
        try:
            return await self._reader.market(stored.intent.market_id, min_slot)
        except UndecodableAccount as fault:
            _log.error("market.undecodable", market_id=stored.intent.market_id, fault=str(fault))
            return None

    def _settled(
        self,
        stored: StoredTransaction,
        status: IntentStatus,
        slot: int | None,
        error_name: str | None,
        observed: ObservedMarket | None,
    ) -> Settlement:
        intent_id = stored.intent.intent_id
        self._sent_at.pop(intent_id, None)
        self._never_sent.pop(intent_id, None)
        _log.info("transaction.settled", intent_id=intent_id, status=status, slot=slot, error=error_name)
        return Settlement(stored.intent, status, stored.signature, slot, error_name, observed)

    def _is_send_due(self, intent_id: str) -> bool:
        sent_at = self._sent_at.get(intent_id)
        return sent_at is None or self._clock() - sent_at >= self._settings.resend_s

    def _remember(self, kept: OrderedDict[str, T], name: str, value: T) -> None:
        kept[name] = value
        while len(kept) > self._settings.remembered_max:
            kept.popitem(last=False)
