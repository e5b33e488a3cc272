"""Alerts about actors and shards themselves, whose markets know nothing of their troubles."""

from __future__ import annotations

from actors.nursery import LOSSES_WITHIN_S
from actors.ports import AlertNote
from domain.ids import MarketId

ERROR_LENGTH_MAX = 500
"""Characters of an error that an alert repeats."""


def market_actor_broken(market_id: MarketId, error: str, incident: str) -> AlertNote:
    """A bug of ours ended this market's actor; the log has the rest under the incident."""
    data = {"error": error[:ERROR_LENGTH_MAX], "incident": incident}
    return AlertNote("market_actor_broken", "HIGH", f"market_actor_broken:{market_id}", market_id, data)


def shard_restarting(slot: str, losses: int) -> AlertNote:
    """A shard's process was lost again and again."""
    data = {"slot": slot, "losses": str(losses), "within_s": f"{LOSSES_WITHIN_S:.0f}"}
    return AlertNote("shard_restarting", "HIGH", f"shard_restarting:{slot}", None, data)
