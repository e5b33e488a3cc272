"""Recorded aggregations in memory, for the gRPC server's tests."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

from domain.ids import MarketId
from domain.tally import VoteType
from domain.votelog import Aggregation

BEGAN_AT = datetime(2025, 11, 7, 12, tzinfo=UTC)


class AggregationRows:
    """Implements `grpc_server.ports.AggregationBook`; `on_look` is called at every look, as time would pass."""

    def __init__(self) -> None:
        self.rows: list[Aggregation] = []
        self.on_look: Callable[[], None] = lambda: None

    def put(self, market_id: MarketId, **changes: Any) -> Aggregation:
        """Record one more."""
        facts: dict[str, Any] = {
            "vote_type": VoteType.PROPOSAL,
            "votes_size": 10,
            "votes_root": "ab" * 32,
            "yes_votes": 7,
            "no_votes": 3,
            "submitted_yes": 7,
            "submitted_no": 3,
            "percentage_bps": 7000,
            "threshold_bps": 7000,
            "threshold_met": True,
            "status": "confirmed",
            "reason": "",
            "transaction_signature": "sig",
            "created_at": BEGAN_AT,
        }
        number = len(self.rows) + 1
        row = Aggregation(number=number, aggregation_id=f"a{number}", market_id=market_id, **{**facts, **changes})
        self.rows.append(row)
        return row

    async def list(
        self, market_id: MarketId | None, status: str | None, before: int | None, limit: int
    ) -> Sequence[Aggregation]:
        self.on_look()
        found = [
            row
            for row in reversed(self.rows)
            if market_id in (None, row.market_id) and status in (None, row.status) and row.number < (before or 2**63)
        ]
        return found[:limit]
