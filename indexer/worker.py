"""Works the inbox: bodies are leased, read, written and marked; what cannot be read is given up and reported."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field

import structlog

from chain.rpc import ChainUnavailable, RpcRefused
from domain.indexed import Finality, InboxBody, LetterKind, WantedTransaction
from domain.journal import AlertNote
from indexer.arrivals import Arrival, BodyMalformed, Hint, Unreadable, items_of, names_program, read_item
from indexer.ports import IndexStore, IndexTransaction, Spans, Unspanned
from indexer.preparing import Preparer
from indexer.recorder import Recorder

BODIES_MAX = 16
"""Bodies in one batch: 16 of 90 KB are 800 transactions, 40 ms of work in one commit."""
ATTEMPTS_MAX = 10
"""Tries after which a body is poison."""
RETRY_S = 0.5
RETRY_S_MAX = 60.0
WAITING_S = 0.5
"""How soon a transaction is looked at again of which others that are not written yet would tell more."""
OUTAGE_S = 1.0
"""How long bodies wait that an outage stopped; those tries do not count."""
OUTAGES = (OSError, ChainUnavailable, RpcRefused)

log = structlog.get_logger("indexer")


@dataclass(slots=True)
class _Contents:
    """What some bodies hold."""

    arrivals: list[Arrival] = field(default_factory=list)
    hints: list[Hint] = field(default_factory=list)
    unreadable: dict[int, str] = field(default_factory=dict)


class InboxWorker:
    """One of several on one inbox; an outage of the chain gives bodies back, the database's is raised (OSError)."""

    def __init__(
        self,
        program_id: str,
        store: IndexStore,
        preparer: Preparer,
        recorder: Recorder,
        lease_s: float,
        spans: Spans | None = None,
    ) -> None:
        self._spans = spans or Unspanned()
        self._program_id = program_id
        self._store = store
        self._preparer = preparer
        self._recorder = recorder
        self._lease_s = lease_s

    async def step(self) -> bool:
        """Work one batch off; False when nothing was due."""
        bodies = await self._store.lease_bodies(BODIES_MAX, self._lease_s)
        fit = [body for body in bodies if body.attempts <= ATTEMPTS_MAX]
        for body in bodies:
            if body.attempts > ATTEMPTS_MAX:
                await self._bury(body)
        if fit:
            asked_by = [body.traceparent for body in fit if body.traceparent is not None]
            with self._spans.work("index bodies", {"zmart.bodies": len(fit)}, asked_by):
                await self._work(fit)
        return bool(bodies)

    async def _work(self, bodies: Sequence[InboxBody]) -> None:
        """All at once; when that fails for no outage, each alone, so that one bad body holds nobody up."""
        ids = [body.inbox_id for body in bodies]
        try:
            await self._write(bodies)
        except OUTAGES as outage:
            log.warning("inbox.waits", bodies=len(bodies), error=str(outage))
            await self._store.return_bodies(ids, OUTAGE_S, str(outage), is_attempt=False)
        except Exception as fault:
            log.exception("inbox.failed", bodies=len(bodies))
            if len(bodies) > 1:
                for body in bodies:
                    await self._work([body])
                return
            await self._store.return_bodies(ids, _pause_s(bodies[0].attempts), repr(fault), is_attempt=True)

    async def _write(self, bodies: Sequence[InboxBody]) -> None:
        contents = self._read(bodies)
        source = bodies[0].source  # whoever posted a slot that never comes must not hold up the others' bodies
        prepared = await self._preparer.prepare(contents.arrivals, source, Finality.CONFIRMED, puts_off=True)
        transactions = [each for each in prepared if not each.is_waiting]
        waiting = [WantedTransaction(each.signature, each.slot, "webhook") for each in prepared if each.is_waiting]
        by_id = {body.inbox_id: body for body in bodies}

        async def mark(opened: IndexTransaction) -> None:
            await opened.want([WantedTransaction(hint.signature, hint.slot, "webhook") for hint in contents.hints], 0)
            await opened.want(waiting, WAITING_S)
            for inbox_id, why in contents.unreadable.items():
                await opened.bury(LetterKind.WEBHOOK, by_id[inbox_id].body, why)
                await opened.raise_alerts([_alert(inbox_id, why)])
            await opened.finish_bodies(list(by_id))

        await self._recorder.record(transactions, mark)

    def _read(self, bodies: Sequence[InboxBody]) -> _Contents:
        contents = _Contents()
        for body in bodies:
            try:
                items = items_of(body.body)
            except BodyMalformed as fault:
                contents.unreadable[body.inbox_id] = str(fault)
                continue
            for item in items:
                self._sort_in(contents, body.inbox_id, read_item(item))
        return contents

    def _sort_in(self, contents: _Contents, inbox_id: int, read: Arrival | Hint | Unreadable) -> None:
        if isinstance(read, Unreadable):
            contents.unreadable.setdefault(inbox_id, read.why)
        elif isinstance(read, Hint):
            contents.hints.append(read)
        elif names_program(read, self._program_id):
            contents.arrivals.append(read)

    async def _bury(self, body: InboxBody) -> None:
        why = f"given up after {ATTEMPTS_MAX} tries"
        log.error("inbox.poison", inbox_id=body.inbox_id)
        await self._store.bury_body(body.inbox_id, why, _alert(body.inbox_id, why))


def _pause_s(attempts: int) -> float:
    return float(min(RETRY_S * 2**attempts, RETRY_S_MAX))


def _alert(inbox_id: int, why: str) -> AlertNote:
    """One open alert for all letters of this kind: an operator lists them."""
    data = {"inbox_id": str(inbox_id), "error": why, "mend": "zmart index dead-letters"}
    return AlertNote("webhook_dead_letter", "HIGH", "webhook_dead_letter", None, data)


async def work_on(worker: InboxWorker, idle_s: float) -> None:
    """Work for ever; look again after `idle_s` when nothing was due, and after an outage."""
    while True:
        try:
            busy = await worker.step()
        except OSError as outage:
            log.warning("inbox.unreachable", error=str(outage))
            busy = False
        if not busy:
            await asyncio.sleep(idle_s)
