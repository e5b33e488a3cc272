"""What operators see of aggregations, and one that they ask for right now."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from google.protobuf.timestamp_pb2 import Timestamp

from domain.commands import AggregateNow
from domain.ids import MarketId
from domain.outcomes import Done, VoteTaken
from domain.refusals import AlreadyInState
from domain.votelog import AGGREGATION_STATUSES, Aggregation
from grpc_server import translate
from grpc_server.adoption import Adoption
from grpc_server.page_tokens import PageTokens
from grpc_server.ports import AggregationBook
from grpc_server.problems import Invalid, Rejected, violation
from zmart.v1 import ops_service_pb2 as pb

ANSWER_S_MAX = 10.0
"""How long a new attempt is waited for until it is sent; below the call's own deadline. It goes on all the same."""
LOOK_S = 0.2
"""How often is looked where it stands."""


class Aggregations:
    """Lists what was recorded, and has a market's actor send what may be sent; the row says what came of it."""

    def __init__(
        self, adoption: Adoption, book: AggregationBook, page_tokens: PageTokens, monotonic_s: Callable[[], float]
    ) -> None:
        self._adoption = adoption
        self._book = book
        self._page_tokens = page_tokens
        self._monotonic_s = monotonic_s

    async def now(self, request: pb.AggregateNowRequest) -> pb.AggregateNowResponse:
        """Answer once the attempt was sent or has ended, with what is after 10 s; nothing to send is `skipped`."""
        market_id = translate.market_id(request.market_id)
        outcome = await self._adoption.submit(AggregateNow(market_id))
        if not isinstance(outcome, Done | AlreadyInState):
            assert not isinstance(outcome, VoteTaken), "nobody has voted"
            raise Rejected(outcome)
        newest = await self._newest(market_id)
        return pb.AggregateNowResponse(
            aggregation_id=newest.aggregation_id if newest else "",
            status=newest.status if newest else "skipped",  # no row: tallies from elsewhere went on to their approval
            transaction_signature=(newest.transaction_signature or "") if newest else "",
        )

    async def list(self, request: pb.ListAggregationsRequest) -> pb.ListAggregationsResponse:
        """Answer one page, newest first; asks for one row more to know whether there is another page."""
        if request.status and request.status not in AGGREGATION_STATUSES:
            raise violation(Invalid.AGGREGATION_STATUS_UNKNOWN, "status", request.status)
        market_id = translate.market_id(request.market_id) if request.market_id else None
        size = translate.page_size(request.page_size)
        conditions = f"ListAggregations market={market_id} status={request.status}"
        place = self._page_tokens.read(request.page_token, conditions)
        before = place[0] if place else None
        rows = [*await self._book.list(market_id, request.status or None, before, size + 1)]
        token = self._page_tokens.issue((rows[size - 1].number, ""), conditions) if len(rows) > size else ""
        return pb.ListAggregationsResponse(aggregations=[_shown(row) for row in rows[:size]], next_page_token=token)

    async def _newest(self, market_id: MarketId) -> Aggregation | None:
        """The market's newest row once it is no longer pending, or as it stands after 10 s."""
        until_s = self._monotonic_s() + ANSWER_S_MAX
        while True:
            rows = await self._book.list(market_id, None, None, 1)
            if not rows or rows[0].status != "pending" or self._monotonic_s() >= until_s:
                return rows[0] if rows else None
            await asyncio.sleep(LOOK_S)


def _shown(row: Aggregation) -> pb.Aggregation:
    created_at = Timestamp()
    created_at.FromDatetime(row.created_at)
    return pb.Aggregation(
        aggregation_id=row.aggregation_id,
        market_id=row.market_id,
        vote_type=row.vote_type.value,
        status=row.status,
        yes_votes=str(row.yes_votes),
        no_votes=str(row.no_votes),
        submitted_yes=row.submitted_yes or 0,
        submitted_no=row.submitted_no or 0,
        percentage_bps=row.percentage_bps,
        threshold_bps=row.threshold_bps,
        threshold_met=row.threshold_met,
        reason=row.reason,
        transaction_signature=row.transaction_signature or "",
        created_at=created_at,
        votes_size=row.votes_size or 0,
        votes_root=row.votes_root or "",
        synthetic=row.is_synthetic,
    )
