"""Markets as attempts left them: many at once where many have just landed, one by one otherwise."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import structlog

from chain.accounts import ChainAccounts
from chain.client import ChainReader
from chain.plan import ChainFacts, Step, next_step
from chain.program import UndecodableAccount
from domain.ids import MarketId
from domain.intents import StoredTransaction
from domain.observed import ObservedMarket

BATCH_MIN = 2
"""From this many on, one question for all: each costs 2 ms of the agent's processor, whatever it asks for."""

_log = structlog.get_logger(__name__)


class Observations:
    """Reads for one round of the sender; nothing is kept from one round to the next."""

    def __init__(self, reader: ChainReader) -> None:
        self._reader = reader
        self._accounts = ChainAccounts(reader.rpc, reader.program)
        self._read: Mapping[MarketId, ObservedMarket] = {}

    async def look_ahead(self, rows: Sequence[StoredTransaction], facts: Mapping[str, ChainFacts]) -> None:
        """Read the markets whose attempts have landed, as of the newest slot that one of them landed in."""
        self._read = {}
        seen = [(row, facts.get(row.signature or "")) for row in rows]
        landed = [(row, fact) for row, fact in seen if fact and next_step(row, fact, False) is Step.CONFIRM]
        if len(landed) >= BATCH_MIN:
            newest = max(fact.sighting.slot for _, fact in landed if fact.sighting)
            ids = [row.intent.market_id for row, _ in landed]
            self._read = await self._accounts.markets(ids, newest)

    async def market(self, market_id: MarketId, min_slot: int | None) -> ObservedMarket | None:
        """The market at a slot no older than `min_slot`; None also for an account that is no market."""
        read = self._read.get(market_id)
        if read is not None and (min_slot is None or read.slot >= min_slot):
            return read
        try:
            return await self._reader.market(market_id, min_slot)
        except UndecodableAccount as fault:
            _log.error("market.undecodable", market_id=market_id, fault=str(fault))
            return None
