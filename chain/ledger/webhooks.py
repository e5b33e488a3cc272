"""Raw webhooks in the shape of Helius: what was confirmed is posted as an array, with the `Authorization` that was set.

Guarantee: none beyond a few tries, as with the real ones (C1). A payload is tried once and up to three times more, one
second apart, never again after a 403; then it is lost. Order is not promised and nothing is kept over a restart.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import aiohttp
import structlog

from chain.ledger import encoding, faults
from chain.ledger.bank import Block, Receipt
from chain.ledger.node import Node, Webhook

RETRIES_MAX = 3
RETRY_S = 1.0
ANSWER_S = 1.0
"""A receiver that takes longer has failed."""
ITEMS_MAX = 100
"""Transactions of one slot in one payload."""
QUEUE_MAX = 1_000
"""Payloads that wait; the oldest one is lost to make room."""
SENDERS = 4
"""Payloads on their way at once: one dead receiver must not stop the clock for all that follow."""
OK, FORBIDDEN = 200, 403
HELD_SLOTS = 5
"""How long a payload is held back for being overtaken when nobody says so."""

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Payload:
    """One POST, made when its slot was confirmed."""

    webhook: Webhook
    body: bytes


class Webhooks:
    """The payloads of one node on their way; a `Watcher` of it."""

    def __init__(self, node: Node, retry_s: float = RETRY_S, senders: int = SENDERS) -> None:
        self._node = node
        self._retry_s = retry_s
        self._senders = senders
        self._told_slot = node.bank.settled("confirmed").slot
        self._waiting: asyncio.Queue[Payload] = asyncio.Queue(QUEUE_MAX)
        self._held: list[tuple[int, Payload]] = []
        self.lost_count = 0
        """Payloads given up, or thrown away to make room."""

    def landed(self, receipt: Receipt) -> None:
        """Nothing: what is only processed is not told."""

    def ticked(self, block: Block) -> None:
        """Queue what has become confirmed, one payload for each slot and `ITEMS_MAX` transactions."""
        newest = self._node.bank.settled("confirmed").slot
        slots, self._told_slot = range(self._told_slot + 1, newest + 1), max(newest, self._told_slot)
        for slot in slots:
            for items in self._of_program(slot):
                self._take(items, block.slot)
        self._release([payload for due, payload in self._held if due <= block.slot])

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Send while inside; what has not gone out by then is lost."""
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=ANSWER_S)) as session:
            senders = [asyncio.create_task(self._send_all(session)) for _ in range(self._senders)]
            try:
                yield
            finally:
                for sender in senders:
                    sender.cancel()
                await asyncio.gather(*senders, return_exceptions=True)

    async def drained(self) -> None:
        """Return once every payload that was due is delivered or lost."""
        await self._waiting.join()

    def _of_program(self, slot: int) -> Iterator[Sequence[Receipt]]:
        if self._node.webhook is None:
            return
        program = self._node.program_id
        named = [receipt for receipt in self._node.bank.receipts(slot) if program in receipt.transaction.keys]
        for start in range(0, len(named), ITEMS_MAX):
            yield named[start : start + ITEMS_MAX]

    def _take(self, items: Sequence[Receipt], now_slot: int) -> None:
        """Queue one payload, or do to it what the faults say; one held back is overtaken by the next."""
        strike, webhook = self._node.faults.strike, self._node.webhook
        assert webhook is not None
        if strike(faults.WEBHOOK_LOSE):
            self.lost_count += 1
            return
        reorder = strike(faults.WEBHOOK_REORDER)
        payload = Payload(webhook, raw_webhook(items[::-1] if reorder else items))
        if reorder:
            self._held.append((now_slot + (reorder.slots or HELD_SLOTS), payload))
            return
        for _ in range(2 if strike(faults.WEBHOOK_DUPLICATE) else 1):
            self._put(payload)
        self._release([held for _, held in self._held])

    def _release(self, payloads: Sequence[Payload]) -> None:
        for payload in payloads:
            self._put(payload)
        self._held = [(due, payload) for due, payload in self._held if payload not in payloads]

    def _put(self, payload: Payload) -> None:
        if self._waiting.full():
            self._waiting.get_nowait()
            self._waiting.task_done()
            self.lost_count += 1
            _log.warning("ledger.webhook_queue_full", waiting_max=QUEUE_MAX)
        self._waiting.put_nowait(payload)

    async def _send_all(self, session: aiohttp.ClientSession) -> None:
        while True:
            payload = await self._waiting.get()
            try:
                await self._send(session, payload)
            finally:
                self._waiting.task_done()

    async def _send(self, session: aiohttp.ClientSession, payload: Payload) -> None:
        for attempt in range(1 + RETRIES_MAX):
            if attempt:
                await asyncio.sleep(self._retry_s)
            status = await _post(session, payload)
            if status == OK:
                return
            if status == FORBIDDEN:
                break
        self.lost_count += 1
        _log.warning("ledger.webhook_lost", url=payload.webhook.url, status=status)


async def _post(session: aiohttp.ClientSession, payload: Payload) -> int | None:
    """The answer's status, None when there was none in time."""
    headers = {"Content-Type": "application/json"}
    if payload.webhook.auth_header:
        headers["Authorization"] = payload.webhook.auth_header
    try:
        async with session.post(payload.webhook.url, data=payload.body, headers=headers) as answer:
            return answer.status
    except (aiohttp.ClientError, TimeoutError):
        return None


def raw_webhook(receipts: Sequence[Receipt]) -> bytes:
    """The body of one POST: an array of raw transactions (C1)."""
    return json.dumps([_item(receipt) for receipt in receipts], separators=(",", ":")).encode()


def _item(receipt: Receipt) -> dict[str, Any]:
    version = receipt.transaction.version
    return {
        "blockTime": receipt.unix_s,
        "indexWithinBlock": receipt.index,
        "meta": encoding.meta_json(receipt),
        "slot": receipt.slot,
        "transaction": encoding.transaction_json(receipt.transaction.raw, "json"),
        "version": "legacy" if version is None else version,
    }
