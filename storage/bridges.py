"""Orders to the WebSocket bridges and their answers: rows, because neither side knows where the other is."""

import dataclasses
import json
import os
import socket
from collections.abc import Sequence

from domain.connections import BridgeAnswer, BridgeOrder, BridgeWord, ConnectionLook
from storage.codec import Row
from storage.database import Database
from storage.news import News

CHANNEL = "zmart_bridges"


class BridgeOrders:
    """One bridge's side; every call raises StorageUnavailable (an OSError)."""

    def __init__(self, database: Database, database_url: str, bridge_id: str) -> None:
        self._database = database
        self._bridge_id = bridge_id
        self._place = (socket.gethostname(), os.getpid())
        self._news = News(database_url, CHANNEL, "zmart-bridge")

    async def beat(self, connections: int) -> None:
        """This bridge lives; orders that nobody who lives has answered are waited for."""
        await self._database.fetch("bridge_beats", self._bridge_id, *self._place, connections)

    async def open(self) -> Sequence[BridgeOrder]:
        """What this bridge has not answered, oldest first."""
        rows = await self._database.fetch("open_bridge_orders", self._bridge_id)
        return [BridgeOrder(row["id"], row["is_kick"], row["wallet"], row["limit_each"], row["reason"]) for row in rows]

    async def answer(self, order_id: str, answer: BridgeAnswer) -> None:
        """Done; the first answer stands."""
        shown = json.dumps([dataclasses.asdict(look) for look in answer.shown])
        told = (answer.connections, answer.matching, shown)
        await self._database.fetch("answer_bridge_order", order_id, self._bridge_id, *self._place, *told)

    async def wait(self, timeout_s: float) -> None:
        """Return when there may be orders, or after `timeout_s`; a hint, and safe to cancel."""
        await self._news.wait(timeout_s)

    async def close(self) -> None:
        """Stop listening."""
        await self._news.close()


class BridgeBook:
    """The operators' side; every call raises StorageUnavailable."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def order(self, is_kick: bool, wallet: str, limit: int, reason: str, asked_by: str) -> str:
        """Ask every bridge; the order's id. One that closes connections is kept for good, with its answers."""
        (row,) = await self._database.fetch("order_bridges", is_kick, wallet, limit, reason, asked_by)
        return str(row["id"])

    async def words(self, order_id: str) -> Sequence[BridgeWord]:
        """Every bridge that lives or has answered, by host and process."""
        return [_word(row) for row in await self._database.fetch("bridge_words", order_id)]


def _word(row: Row) -> BridgeWord:
    if row["matching"] is None:
        return BridgeWord(row["id"], row["host"], row["pid"], None)
    shown = tuple(ConnectionLook(**look) for look in json.loads(row["shown"]))
    return BridgeWord(row["id"], row["host"], row["pid"], BridgeAnswer(row["connections"], row["matching"], shown))
