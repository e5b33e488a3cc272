"""What somebody wrote past the actors: noted as PostgreSQL announces it, asked for by the shard (decisions F5)."""

import json
from typing import Any

import asyncpg
import structlog

from domain.ids import MarketId

CHANNEL = "zmart_changed"

log = structlog.get_logger("storage")


class Outside:
    """Changed markets by id, each once however often it was announced: never more than there are markets.

    The session that listens is the one that holds the locks: what is written while it is not there was read by its
    successor when that woke the market.
    """

    def __init__(self) -> None:
        self._changed: dict[MarketId, bool] = {}

    def note(self, market_id: MarketId, *, votes: bool) -> None:
        """A market's row, or one of its votes, is not what an actor wrote."""
        self._changed[market_id] = votes or self._changed.get(market_id, False)

    def taken(self) -> dict[MarketId, bool]:
        """All of it, once; for each market whether its votes changed."""
        changed, self._changed = self._changed, {}
        return changed

    async def listen(self, connection: asyncpg.Connection) -> None:
        """Hear what is announced on this session; asyncpg's exceptions pass through."""
        await connection.add_listener(CHANNEL, self._hear)

    def _hear(self, _connection: Any, _pid: int, _channel: str, payload: object) -> None:
        try:
            told = json.loads(str(payload))
            self.note(MarketId(told["market_id"]), votes=told["table"] == "vote_records")
        except (ValueError, TypeError, KeyError):  # whoever may connect may announce
            log.warning("announcement that is none of ours", channel=CHANNEL)
