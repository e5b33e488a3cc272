"""Stored votes that are not what was published of them: somebody wrote past the shards, and people must know."""

from __future__ import annotations

from collections.abc import Callable

import structlog

from domain.ids import MarketId
from domain.journal import AlertNote
from domain.tally import VoteType
from grpc_server.ports import Alarm, BookUnavailable
from grpc_server.problems import Rejected, VotesAltered

TOLD_AGAIN_S = 60.0
"""Between two alerts about one market: anybody may ask for proofs, and each would be a write."""
TOLD_MAX = 1_000

log = structlog.get_logger("grpc")


class AlteredVotes:
    """Tells people at most once a minute and market; the log has every sight of it."""

    def __init__(self, alarm: Alarm, monotonic_s: Callable[[], float]) -> None:
        self._alarm = alarm
        self._monotonic_s = monotonic_s
        self._told: dict[MarketId, float] = {}

    async def found(self, market_id: MarketId, vote_type: VoteType, what: str) -> Rejected:
        """Tell it, and return what ends the call. An alert that cannot be stored is logged, and raised by the next."""
        log.error("votes altered", market_id=market_id, vote_type=vote_type.value, what=what)
        now_s = self._monotonic_s()
        if self._told.get(market_id, -TOLD_AGAIN_S) + TOLD_AGAIN_S <= now_s:
            self._note(market_id, now_s)  # before the wait, in which others find the same
            facts = {"vote_type": vote_type.value, "what": what}
            note = AlertNote("votes_altered", "CRITICAL", f"votes_altered:{market_id}", market_id, facts)
            try:
                await self._alarm.raise_alert(note)
            except BookUnavailable as outage:
                self._told.pop(market_id, None)
                log.warning("alert not stored", market_id=market_id, why=str(outage))
        return Rejected(VotesAltered(market_id))

    def _note(self, market_id: MarketId, now_s: float) -> None:
        """Remember, and forget the oldest beyond the bound."""
        self._told.pop(market_id, None)
        self._told[market_id] = now_s
        while len(self._told) > TOLD_MAX:
            del self._told[next(iter(self._told))]
