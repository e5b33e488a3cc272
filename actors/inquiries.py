"""What a shard tells of itself and of its markets; it only looks."""

from __future__ import annotations

from collections.abc import Mapping

from actors.market_actor import awaited_deadlines
from actors.messages import Answer, Batch, Broken, Describe, Described, Failed
from actors.ports import Journal
from actors.residents import Residents
from domain.ids import MarketId, virtual_shard
from domain.refusals import MarketNotFound
from domain.shards import ShardBeat
from domain.standing import ActorStanding, AskStanding


class Inquiries:
    """Asks actors that live here, and the journal about those that sleep: nobody is woken to be looked at."""

    def __init__(self, journal: Journal, residents: Residents) -> None:
        self._journal = journal
        self._residents = residents
        self._slot, self._host, self._pid = "", "", 0

    def settle_in(self, slot: str, host: str, pid: int) -> None:
        """Where this is."""
        self._slot, self._host, self._pid = slot, host, pid

    async def answer(self, asked: Mapping[int, AskStanding], batch: Batch) -> dict[int, Answer]:
        """How each market stands, after everything else of its batch; a market that is not known is MarketNotFound."""
        if not asked:
            return {}
        wanted = {inquiry.market_id for inquiry in asked.values()}
        found = await self._sleeping([each for each in wanted if each not in self._residents.household])
        awake = {each: Describe(self._residents.rules()) for each in wanted if each in self._residents.household}
        found.update(self._residents.round(awake))
        return {
            index: self._standing(inquiry.market_id, found.get(inquiry.market_id), inquiry.market_id in awake, batch)
            for index, inquiry in asked.items()
        }

    def beat(self, restarts: int, recent_losses: int) -> ShardBeat:
        """How this process stands."""
        residents = self._residents
        return ShardBeat(
            slot=self._slot,
            host=self._host,
            pid=self._pid,
            virtual_shards=len(residents.epochs),
            resident_markets=len(residents.household),
            deadlines=len(residents.alarms),
            lag_s=residents.lag_s(),
            restarts=restarts,
            recent_losses=recent_losses,
        )

    async def _sleeping(self, market_ids: list[MarketId]) -> dict[MarketId, Described | Broken]:
        rules = self._residents.rules()
        loaded = await self._journal.load(market_ids) if market_ids else ()
        return {
            market.market_id: Described(market.market_id, market, awaited_deadlines(market, deadline, rules), None)
            for market, deadline in loaded
        }

    def _standing(self, market_id: MarketId, found: Described | Broken | None, is_active: bool, batch: Batch) -> Answer:
        if isinstance(found, Broken):
            return Failed(found.incident)
        if found is None or found.market is None:
            return MarketNotFound(market_id)
        return ActorStanding(
            market=found.market,
            deadlines=found.deadlines,
            is_active=is_active,
            last_decision=found.last_decision,
            slot=self._slot,
            host=self._host,
            pid=self._pid,
            epoch=self._residents.epochs[virtual_shard(market_id)],
            mailbox=sum(each.market_id == market_id and not isinstance(each, AskStanding) for each in batch.commands),
        )
