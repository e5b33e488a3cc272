"""Transactions that cannot be lost and cannot be doubled: every row is driven to its end, whatever dies on the way.

Signed bytes are stored before they are first sent, and the same bytes are sent until they land or are proven expired.
So a crash, a lost answer or a second agent can only repeat bytes, and Solana executes identical bytes once.
What is confirmed is followed until it is final, since its slot may still be dropped (docs/adr/0009).
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import TypeVar

import structlog

from chain.client import ChainReader
from chain.failures import ALREADY_PROCESSED, PASSING
from chain.fees import SIMULATED, FeeSettings
from chain.gateway import Gateway, SendAnswer
from chain.keys import SigningKeys
from chain.notices import late, undone
from chain.observing import Observations
from chain.plan import ChainFacts, Step, is_expired, moved_on, next_step
from chain.ports import AttemptLocks, Spans, TransactionStore, Unlocked, Unspanned
from chain.purse import Purse
from chain.rehearsals import Rehearsals
from chain.resting import rest
from chain.rpc import RETRY_AFTER_S_MAX, ChainUnavailable, RpcRefused, Sleep
from chain.sender_settings import SenderSettings
from chain.signing import FreshBlockhash, KeyMissing, SignedTransaction, compose, sign
from chain.transition_gate import TransitionGate
from domain.intents import IntentStatus, Settlement, StoredTransaction
from domain.observed import ObservedMarket

NO_ADMIN_KEY = "AdminKeyMissing"
"""Error name of an intent that needs a key this backend does not hold."""
MOVED_ON = "MarketMovedOn"
"""Error name of a retry whose market has left every state in which the action does anything."""

OVERDUE = "AttemptOverdue"
"""Error name of an attempt that could not be signed in time; nothing of it was ever sent."""

T = TypeVar("T")

_log = structlog.get_logger(__name__)


class Sender:
    """Drives stored transactions; one per process. It owns no truth: all that matters is in the rows."""

    def __init__(
        self,
        reader: ChainReader,
        keys: SigningKeys,
        store: TransactionStore,
        *,
        settings: SenderSettings | None = None,
        fees: FeeSettings | None = None,
        locks: AttemptLocks | None = None,
        spans: Spans | None = None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Sleep = asyncio.sleep,
    ) -> None:
        self._reader = reader
        self._gateway = Gateway(reader.rpc)
        self._observations = Observations(reader)
        self._rehearsals = Rehearsals(self._gateway, clock)
        self._keys = keys
        self._store = store
        self._locks = locks or Unlocked()
        self._spans = spans or Unspanned()
        self._settings = settings or SenderSettings()
        self._clock = clock
        self._sleep = sleep
        payers = [key.pair.pubkey() for key in (keys.backend, keys.admin) if key is not None]
        self._purse = Purse(self._gateway, store, payers, fees or FeeSettings(), clock)
        self._gate = TransitionGate(clock, self._settings.transition_failures_max, self._settings.transition_open_s)
        self._moves = 0
        """Rows that went on for good; while there are any in a round, the next one follows at once."""
        self._follow_due_s = clock()
        self._is_following = False
        self._sent_at: OrderedDict[str, float] = OrderedDict()
        self._never_sent: OrderedDict[str, None] = OrderedDict()
        """Signed by this process and not yet handed to any node: only then is a refusal the last word."""
        self._signatures: OrderedDict[str, None] = OrderedDict()
        self._reported: OrderedDict[str, None] = OrderedDict()
        """Overdue and reported."""
        self._refusals: OrderedDict[str, str] = OrderedDict()
        """What nodes said of bytes that another node might hold: the reason, should they expire."""

    @property
    def holds_transitions_back(self) -> bool:
        """Whether the breaker of state transitions is open: it has opened and no probe has succeeded since."""
        return self._gate.is_open

    async def run(self, wake: asyncio.Event, on_settled: Callable[[Settlement], None]) -> None:
        """Drive everything that is open, until cancelled; a chain that does not answer is waited for.

        `on_settled` is called after the row is committed. Whatever the store raises ends the run; a new one resumes.
        """
        pause_s = self._settings.backoff_s_min
        while True:
            wake.clear()
            try:
                rest_s = await self._round(on_settled)
            except (ChainUnavailable, RpcRefused) as outage:
                asked_s = outage.facts.retry_after_s if isinstance(outage, ChainUnavailable) else None
                wait_s = max(pause_s, min(asked_s or 0.0, RETRY_AFTER_S_MAX))
                _log.warning("chain.unavailable", fault=str(outage), wait_s=wait_s)
                await self._sleep(wait_s)
                pause_s = min(pause_s * 2, self._settings.backoff_s_max)
                continue
            pause_s = self._settings.backoff_s_min
            if rest_s:
                await rest(wake, rest_s, self._sleep)

    async def advance(self, stored: StoredTransaction) -> Settlement | None:
        """Take one step with one transaction, from whatever state a crash left it in; a settlement when it ended.

        Raises `ChainUnavailable` when the chain does not answer: the row then stands as it stood.
        """
        facts, fresh = await self._look([stored])
        return await self._take(stored, facts.get(stored.signature or ""), fresh)

    async def _round(self, on_settled: Callable[[Settlement], None]) -> float:
        """One step with every row in hand; returns how long to rest, 0 when there is more to do at once."""
        await self._gate.tell(self._store.raise_alert)
        rows = [*await self._open_rows(on_settled), *await self._landed_rows()]
        if not rows:
            return self._until_follow_s()
        with self._gate.watch(rows):
            return await self._stepped(rows, on_settled)

    async def _stepped(self, rows: Sequence[StoredTransaction], on_settled: Callable[[Settlement], None]) -> float:
        facts, fresh = await self._look(rows)
        turns, moves = asyncio.Semaphore(self._settings.concurrency), self._moves

        async def one(stored: StoredTransaction) -> Settlement | None:
            async with turns:
                if not self._locks.may_step(stored.intent):
                    return None  # lost since the round began
                return await self._take(stored, facts.get(stored.signature or ""), fresh)

        outcomes = await asyncio.gather(*map(one, rows), return_exceptions=True)
        for outcome in outcomes:
            if isinstance(outcome, Settlement):
                on_settled(outcome)
        for outcome in outcomes:
            if isinstance(outcome, BaseException):
                raise outcome
        if self._moves > moves:
            return 0.0
        is_open = any(row.status is not IntentStatus.CONFIRMED for row in rows)
        return self._settings.poll_s if is_open else self._until_follow_s()

    async def _open_rows(self, on_settled: Callable[[Settlement], None]) -> list[StoredTransaction]:
        """What is open and in time; what is overdue is dealt with first, for that needs no chain."""
        rows = []
        for row in await self._store.open_transactions(self._settings.open_max):
            settlement = await self._overdue(row) if row.age_s >= self._settings.overdue_s else None
            if settlement is None:
                rows.append(row)
            else:
                on_settled(settlement)
        return await self._may_step(rows)

    async def _may_step(self, rows: Sequence[StoredTransaction]) -> list[StoredTransaction]:
        """Those that wait neither for money nor for somebody else's lock; the others come in a later round."""
        if self._purse.is_shut:
            rows = [row for row in rows if row.status is not IntentStatus.PLANNED]
        rows = self._gate.admitted(rows)
        await self._locks.hold([row.intent for row in rows])
        return [row for row in rows if self._locks.may_step(row.intent)]

    async def _overdue(self, stored: StoredTransaction) -> Settlement | None:
        """Fail what was never signed; what was is followed to its proven end, and said aloud once."""
        intent_id = stored.intent.intent_id
        if stored.status is IntentStatus.PLANNED:
            if await self._store.mark_overdue(intent_id, OVERDUE):
                return self._settled(stored, IntentStatus.FAILED, None, OVERDUE, None)
        elif intent_id not in self._reported:
            await self._store.raise_alert(late(stored))
            self._remember(self._reported, intent_id, None)
        return None

    async def _landed_rows(self) -> Sequence[StoredTransaction]:
        """What is confirmed and not final, when it is time to look."""
        if self._clock() < self._follow_due_s:
            return ()
        self._follow_due_s = self._clock() + self._settings.follow_s
        rows = await self._store.confirmed_transactions(self._settings.open_max)
        self._is_following = bool(rows)
        return rows

    def _until_follow_s(self) -> float:
        if not self._is_following:
            return self._settings.idle_s
        return max(self._follow_due_s - self._clock(), self._settings.poll_s)

    async def _look(self, rows: Sequence[StoredTransaction]) -> tuple[dict[str, ChainFacts], FreshBlockhash | None]:
        signatures = [row.signature for row in rows if row.signature is not None]
        facts = await self._gateway.facts(signatures) if signatures else {}
        await self._observations.look_ahead(rows, facts)
        waiting = sum(row.status is IntentStatus.PLANNED for row in rows)
        self._rehearsals.expect(waiting)
        return facts, await self._gateway.fresh_blockhash() if waiting else None

    async def _take(
        self, stored: StoredTransaction, facts: ChainFacts | None, fresh: FreshBlockhash | None
    ) -> Settlement | None:
        step = next_step(stored, facts, self._is_send_due(stored.intent.intent_id))
        if step is Step.WAIT:
            return None
        attributes = {"zmart.intent_id": stored.intent.intent_id, "zmart.market_id": stored.intent.market_id}
        with self._spans.work(f"transaction {step.value}", attributes):
            return await self._carry_out(step, stored, facts, fresh)

    async def _carry_out(
        self, step: Step, stored: StoredTransaction, facts: ChainFacts | None, fresh: FreshBlockhash | None
    ) -> Settlement | None:
        match step:
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
            case Step.FINALIZE:
                await self._finalize(stored, facts)
                return None
            case Step.UNDO:
                return await self._undo(stored, facts)
            case Step.WAIT:
                return None

    async def _sign(self, stored: StoredTransaction, fresh: FreshBlockhash) -> Settlement | None:
        """Nothing of the intent has left this process yet, so a refusal is final here, also after a crash."""
        intent = stored.intent
        if intent.attempt > 1 and moved_on(intent.action, await self._observe(stored, fresh.slot)):
            return await self._fail(stored, MOVED_ON)
        try:
            draft = compose(intent, self._reader.program, self._keys, fresh, SIMULATED)
        except KeyMissing:
            return await self._fail(stored, NO_ADMIN_KEY)
        simulation = await self._rehearsals.of(intent, draft, fresh)
        if simulation.failure in PASSING:
            return None
        if simulation.failure is not None:
            return await self._fail(stored, simulation.failure)
        fee = await self._purse.fee(simulation.units)
        if fee is None:
            return None
        signed = sign(compose(intent, self._reader.program, self._keys, fresh, fee), fresh)
        if signed.signature in self._signatures:
            # the same attempt in the same block: identical bytes would be the old transaction again
            await self._sleep(self._settings.poll_s)
            return None
        await self._keep(intent.intent_id, signed, fee.lamports)
        return None

    async def _keep(self, intent_id: str, signed: SignedTransaction, fee_lamports: int) -> None:
        await self._store.mark_signed(
            intent_id, signed.raw, signed.signature, signed.blockhash, signed.last_valid_block_height, fee_lamports
        )
        self._moves += 1
        self._remember(self._signatures, signed.signature, None)
        self._remember(self._never_sent, intent_id, None)

    async def _send(self, stored: StoredTransaction) -> Settlement | None:
        assert stored.raw is not None
        intent_id = stored.intent.intent_id
        is_first = self._never_sent.pop(intent_id, self) is None
        self._remember(self._sent_at, intent_id, self._clock())
        try:
            answer = await self._gateway.send(stored.raw, preflight=stored.status is IntentStatus.SIGNED)
        except ChainUnavailable as outage:
            if is_first and outage.had_no_effect:
                self._remember(self._never_sent, intent_id, None)
            raise
        if answer.refusal is None or answer.refusal == ALREADY_PROCESSED:
            if stored.status is IntentStatus.SIGNED:
                await self._store.mark_sent(intent_id)
            return None
        return await self._refused(stored, answer, is_first)

    async def _refused(self, stored: StoredTransaction, answer: SendAnswer, is_first: bool) -> Settlement | None:
        """The first node's word is the last one; later, another may hold the bytes, so only the chain can say."""
        intent_id, name = stored.intent.intent_id, answer.refusal
        assert name is not None
        _log.info("transaction.refused", intent_id=intent_id, error=name, is_first=is_first)
        if is_first and name not in PASSING:
            return await self._fail(stored, name)
        if is_first:
            self._remember(self._never_sent, intent_id, None)
        elif name not in PASSING:
            self._remember(self._refusals, intent_id, name)
        return None

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

    async def _expire(self, stored: StoredTransaction, facts: ChainFacts | None) -> Settlement | None:
        assert facts is not None
        if not await self._is_proven_absent(stored):
            return None
        reason = self._refusals.get(stored.intent.intent_id)
        observed = await self._observe(stored, facts.finalized_slot)
        await self._store.mark_expired(stored.intent.intent_id, observed, reason)
        return self._settled(stored, IntentStatus.EXPIRED, None, reason, observed)

    async def _finalize(self, stored: StoredTransaction, facts: ChainFacts | None) -> None:
        assert facts is not None and facts.sighting is not None
        await self._store.mark_finalized(stored.intent.intent_id, facts.sighting.slot)
        self._forget(stored.intent.intent_id)

    async def _undo(self, stored: StoredTransaction, facts: ChainFacts | None) -> Settlement | None:
        """A confirmed slot was dropped, and the bytes are dead: the market hears of a second, other end."""
        assert facts is not None and stored.signature is not None
        sighting, name = facts.sighting, None
        if sighting is not None:
            name = await self._gateway.landed_failure(stored.signature, sighting)
        elif not await self._is_proven_absent(stored):
            return None
        observed = await self._observe(stored, facts.finalized_slot)
        if not await self._store.mark_undone(stored.intent.intent_id, name, observed):
            return None
        await self._store.raise_alert(undone(stored, name))
        status = IntentStatus.EXPIRED if name is None else IntentStatus.FAILED
        return self._settled(stored, status, sighting.slot if sighting else None, name, observed)

    async def _is_proven_absent(self, stored: StoredTransaction) -> bool:
        """Whether every endpoint agrees, so that one with holes in its history cannot make us sign twice."""
        assert stored.signature is not None
        looks = await self._gateway.every_look(stored.signature)
        return all(is_expired(stored, look) for look in looks)

    async def _observe(self, stored: StoredTransaction, min_slot: int | None) -> ObservedMarket | None:
        """The market after the attempt, at a slot no older than it."""
        return await self._observations.market(stored.intent.market_id, min_slot)

    def _settled(
        self,
        stored: StoredTransaction,
        status: IntentStatus,
        slot: int | None,
        error_name: str | None,
        observed: ObservedMarket | None,
    ) -> Settlement:
        intent_id = stored.intent.intent_id
        self._forget(intent_id)
        self._moves += 1
        self._is_following = self._is_following or status is IntentStatus.CONFIRMED
        _log.info("transaction.settled", intent_id=intent_id, status=status, slot=slot, error=error_name)
        return Settlement(stored.intent, status, stored.signature, slot, error_name, observed)

    def _forget(self, intent_id: str) -> None:
        for kept in (self._sent_at, self._never_sent, self._refusals, self._reported):
            kept.pop(intent_id, None)

    def _is_send_due(self, intent_id: str) -> bool:
        sent_at = self._sent_at.get(intent_id)
        return sent_at is None or self._clock() - sent_at >= self._settings.resend_s

    def _remember(self, kept: OrderedDict[str, T], name: str, value: T) -> None:
        kept[name] = value
        while len(kept) > self._settings.remembered_max:
            kept.popitem(last=False)
