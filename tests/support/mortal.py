"""A life that ends at a boundary, and the store and the chain as such a life sees them.

Everything the sender does passes a boundary: a write or read of the store, a request, a sleep. A life ends at one of
them, before or after its effect, and from then on nothing of that life has an effect any more, as after SIGKILL.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeVar

import httpx
from solana.exceptions import SolanaRpcException
from solana.rpc.providers.core import _parse_raw

from chain.ledger.node import Node
from chain.ledger.rpc import answer
from domain.intents import StoredTransaction
from domain.journal import AlertNote
from domain.observed import ObservedMarket
from storage.memory_tables import MemoryDatabase
from storage.transactions import MemoryTransactionStore

T = TypeVar("T")

NETWORK_TROUBLE = 0.02
"""Share of requests whose answer never comes, whatever else goes on."""


class Killed(BaseException):
    """This life is over; nothing of it may have an effect."""


class Life:
    """One process: it dies at its `death_at`-th boundary of those named `deadly`, or never with None."""

    def __init__(self, dice: random.Random, death_at: int | None, deadly: str = "") -> None:
        self._dice = dice
        self._left = death_at
        self._deadly = deadly
        self.over = asyncio.Event()
        self.died_at = ""

    async def cross(self, name: str, effect: Callable[[], Awaitable[T]]) -> T:
        """Let an effect happen, unless this life ends before it; tell of it, unless it ends after it."""
        await self._jitter()
        self._live(f"before {name}")
        result = await effect()
        self._live(f"after {name}")
        await self._jitter()
        self._live(f"back from {name}")
        return result

    async def sleep(self, seconds: float) -> None:
        await self.cross("sleep", lambda: asyncio.sleep(seconds))

    async def _jitter(self) -> None:
        """Others get a turn, so that concurrent steps meet in a new order with every seed."""
        for _ in range(self._dice.randrange(3)):
            await asyncio.sleep(0)

    def _live(self, where: str) -> None:
        if self.over.is_set():
            raise Killed
        if self._left is None or self._deadly not in where:
            return
        self._left -= 1
        if self._left <= 0:
            self.died_at = where
            self.over.set()
            raise Killed


class MortalStore:
    """The rows, as one life sees them; implements `chain.ports.TransactionStore`."""

    def __init__(self, life: Life, database: MemoryDatabase, signed: dict[str, set[str]]) -> None:
        self._life = life
        self._rows = MemoryTransactionStore(database)
        self._signed = signed

    async def open_transactions(self, limit: int) -> Sequence[StoredTransaction]:
        return await self._life.cross("open_transactions", lambda: self._rows.open_transactions(limit))

    async def confirmed_transactions(self, limit: int) -> Sequence[StoredTransaction]:
        return await self._life.cross("confirmed_transactions", lambda: self._rows.confirmed_transactions(limit))

    async def fees_of_day(self) -> int:
        return await self._life.cross("fees_of_day", self._rows.fees_of_day)

    async def mark_signed(
        self,
        intent_id: str,
        raw: bytes,
        signature: str,
        blockhash: str,
        last_valid_block_height: int,
        fee_lamports: int = 0,
    ) -> None:
        async def sign() -> None:
            await self._rows.mark_signed(intent_id, raw, signature, blockhash, last_valid_block_height, fee_lamports)
            self._signed.setdefault(intent_id, set()).add(signature)

        await self._life.cross("mark_signed", sign)

    async def mark_sent(self, intent_id: str) -> None:
        await self._life.cross("mark_sent", lambda: self._rows.mark_sent(intent_id))

    async def mark_confirmed(self, intent_id: str, slot: int, observed: ObservedMarket | None) -> None:
        await self._life.cross("mark_confirmed", lambda: self._rows.mark_confirmed(intent_id, slot, observed))

    async def mark_finalized(self, intent_id: str, slot: int | None = None) -> None:
        await self._life.cross("mark_finalized", lambda: self._rows.mark_finalized(intent_id, slot))

    async def mark_failed(self, intent_id: str, error_name: str, observed: ObservedMarket | None) -> None:
        await self._life.cross("mark_failed", lambda: self._rows.mark_failed(intent_id, error_name, observed))

    async def mark_expired(
        self, intent_id: str, observed: ObservedMarket | None, error_name: str | None = None
    ) -> None:
        await self._life.cross("mark_expired", lambda: self._rows.mark_expired(intent_id, observed, error_name))

    async def mark_overdue(self, intent_id: str, error_name: str) -> bool:
        return await self._life.cross("mark_overdue", lambda: self._rows.mark_overdue(intent_id, error_name))

    async def mark_undone(self, intent_id: str, error_name: str | None, observed: ObservedMarket | None) -> bool:
        return await self._life.cross("mark_undone", lambda: self._rows.mark_undone(intent_id, error_name, observed))

    async def raise_alert(self, note: AlertNote) -> None:
        await self._life.cross("raise_alert", lambda: self._rows.raise_alert(note))


class MortalProvider:
    """HTTP without a socket: bodies go to the node, answers and faults come back as solana-py gives them."""

    def __init__(self, life: Life, node: Node, dice: random.Random) -> None:
        self._life = life
        self._node = node
        self._dice = dice

    async def make_request(self, body: Any, parser: Any) -> Any:
        async def exchange() -> Any:
            reply = answer(self._node, body.to_json().encode())
            request = httpx.Request("POST", "http://ledger")
            if reply.is_lost or self._dice.random() < NETWORK_TROUBLE:
                raise _as_solana_py(httpx.ReadError("gone", request=request), body)
            if reply.status != 200:
                headers = {"Retry-After": str(reply.retry_after_s)} if reply.retry_after_s else {}
                response = httpx.Response(reply.status, headers=headers, request=request)
                raise _as_solana_py(httpx.HTTPStatusError("no", request=request, response=response), body)
            return _parse_raw(reply.body.decode(), parser=parser)

        return await self._life.cross(type(body).__name__, exchange)

    async def close(self) -> None:
        """Nothing is open."""


def _as_solana_py(cause: httpx.HTTPError, body: Any) -> SolanaRpcException:
    failure = SolanaRpcException(cause, print, None, body)
    failure.__cause__ = cause
    return failure
