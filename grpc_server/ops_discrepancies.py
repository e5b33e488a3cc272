"""What operators see of the reconciliation: the discrepancies it found, and a run of it right now."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from google.protobuf.timestamp_pb2 import Timestamp

from domain.discrepancies import DiscrepancyPlace, RunResult, StoredDiscrepancy
from grpc_server import translate
from grpc_server.page_tokens import PageTokens
from grpc_server.ports import ReconciliationDesk, ReconciliationUnanswered
from zmart.v1 import ops_service_pb2 as pb

ANSWER_S_MAX = 15.0
"""How long a run is waited for; below the call's own deadline. It goes on all the same."""
LOOK_S = 0.2
"""How often is looked whether it has ended."""


class Discrepancies:
    """Lists discrepancies, and asks the indexer for a run by a row that it takes: neither needs the other's address."""

    def __init__(self, desk: ReconciliationDesk, page_tokens: PageTokens, monotonic_s: Callable[[], float]) -> None:
        self._desk = desk
        self._page_tokens = page_tokens
        self._monotonic_s = monotonic_s

    async def list(self, request: pb.ListDiscrepanciesRequest) -> pb.ListDiscrepanciesResponse:
        """Answer one page, newest first."""
        market_id = translate.market_id(request.market_id) if request.market_id else None
        size = translate.page_size(request.page_size)
        conditions = f"ListDiscrepancies market={market_id}"
        place = self._page_tokens.read(request.page_token, conditions)
        rows = list(await self._desk.list(market_id, DiscrepancyPlace(*place) if place else None, size + 1))
        token = self._page_tokens.issue(rows[size - 1].place, conditions) if len(rows) > size else ""
        return pb.ListDiscrepanciesResponse(discrepancies=[_shown(row) for row in rows[:size]], next_page_token=token)

    async def run(self, request: pb.RunReconciliationRequest) -> pb.RunReconciliationResponse:
        """Ask for a run and answer what it found; raises ReconciliationUnanswered when it takes too long or fails."""
        market_id = translate.market_id(request.market_id) if request.market_id else None
        result = await self._answer(await self._desk.ask(market_id))
        if result.error is not None:
            raise ReconciliationUnanswered(result.error)
        return pb.RunReconciliationResponse(
            checked=result.checked, discrepancies=result.discrepancies, repaired=result.repaired
        )

    async def _answer(self, run_id: str) -> RunResult:
        until_s = self._monotonic_s() + ANSWER_S_MAX
        while (result := await self._desk.result(run_id)) is None:
            if self._monotonic_s() >= until_s:
                raise ReconciliationUnanswered(f"no answer within {ANSWER_S_MAX} s")
            await asyncio.sleep(LOOK_S)
        return result


def _shown(row: StoredDiscrepancy) -> pb.Discrepancy:
    detected_at = Timestamp()
    detected_at.FromDatetime(row.detected_at)
    return pb.Discrepancy(
        id=row.place.id,
        market_id=row.market_id,
        field=row.field,
        database_value=row.database_value,
        chain_value=row.chain_value,
        observed_slot=row.slot,
        repaired=row.repaired,
        detected_at=detected_at,
        user_pubkey=row.wallet or "",
    )
