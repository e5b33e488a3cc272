"""MarketService: markets as last committed, and what is said about them off chain."""
# ruff: noqa: N802, ARG002 - grpc calls these methods by the contract's names and hands each a context

from __future__ import annotations

from typing import Any

from grpc.aio import ServicerContext

from domain.ids import MarketId
from domain.outcomes import Done, VoteTaken
from domain.refusals import AlreadyInState
from grpc_server import translate
from grpc_server.adoption import Adoption
from grpc_server.calls import caller
from grpc_server.page_tokens import PageTokens
from grpc_server.ports import MarketBook, Position
from grpc_server.problems import Rejected
from zmart.v1 import market_service_pb2 as pb
from zmart.v1.market_service_pb2_grpc import MarketServiceServicer


class MarketService(MarketServiceServicer):
    """Reads come from the book, descriptions go to the market's actor."""

    def __init__(self, adoption: Adoption, book: MarketBook, page_tokens: PageTokens) -> None:
        self._adoption = adoption
        self._book = book
        self._page_tokens = page_tokens

    async def GetMarket(self, request: pb.GetMarketRequest, context: ServicerContext[Any, Any]) -> pb.GetMarketResponse:
        """Answer one market, taking it in if only the chain has it so far."""
        market, deadline = await self._adoption.read(translate.market_id(request.market_id))
        return translate.market_response(market, deadline)

    async def ListMarkets(
        self, request: pb.ListMarketsRequest, context: ServicerContext[Any, Any]
    ) -> pb.ListMarketsResponse:
        """Answer one page, newest first; asks for one row more to know whether there is another page."""
        state, size = translate.listing(request)
        conditions = f"ListMarkets state={request.state}"
        place = self._page_tokens.read(request.page_token, conditions)
        after = (place[0], MarketId(place[1])) if place else None
        rows = list(await self._book.list(state, after, size + 1))
        if len(rows) <= size:
            return translate.list_response(rows, "")
        last, _ = rows[size - 1]
        token = self._page_tokens.issue(Position(last.created_at_s, last.market_id), conditions)
        return translate.list_response(rows[:size], token)

    async def RegisterMarket(
        self, request: pb.RegisterMarketRequest, context: ServicerContext[Any, Any]
    ) -> pb.RegisterMarketResponse:
        """Answer the described market; describing it as it is already is no error."""
        command = translate.description(request, caller())
        outcome = await self._adoption.submit(command)
        assert not isinstance(outcome, VoteTaken), "this is no vote"
        if not isinstance(outcome, Done | AlreadyInState):
            raise Rejected(outcome)
        market, deadline = await self._adoption.read(command.market_id)
        return translate.register_response(market, deadline)
