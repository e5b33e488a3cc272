"""MarketService: markets as last committed, and what is said about them off chain."""
# ruff: noqa: N802, ARG002 - grpc calls these methods by the contract's names and hands each a context

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any

from grpc.aio import ServicerContext

from domain.ids import MarketId
from domain.intents import Action
from domain.outcomes import Done, VoteTaken
from domain.refusals import AlreadyInState
from grpc_server import translate
from grpc_server.adoption import Adoption
from grpc_server.calls import caller
from grpc_server.page_tokens import PageTokens
from grpc_server.ports import MarketBook, Position
from grpc_server.problems import Invalid, Rejected, violation
from grpc_server.transitions import MoveRequest, Transitions, asked
from grpc_server.translate_watch import watch_response
from grpc_server.watches import Watches
from zmart.v1 import market_service_pb2 as pb
from zmart.v1.market_service_pb2_grpc import MarketServiceServicer


class MarketService(MarketServiceServicer):
    """Reads come from the book; descriptions and transitions go to the market's actor."""

    def __init__(
        self,
        adoption: Adoption,
        book: MarketBook,
        page_tokens: PageTokens,
        transitions: Transitions,
        watches: Watches,
        now_s: Callable[[], int],
    ) -> None:
        """`now_s` is Unix seconds."""
        self._adoption = adoption
        self._book = book
        self._page_tokens = page_tokens
        self._transitions = transitions
        self._watches = watches
        self._now_s = now_s

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

    async def WatchMarket(
        self, request: pb.WatchMarketRequest, context: ServicerContext[Any, Any]
    ) -> AsyncIterator[pb.WatchMarketResponse]:
        """Answer a snapshot, or a bookmark where the token is from, then every change until the caller leaves."""
        market_id = translate.market_id(request.market_id)
        conditions = f"WatchMarket {market_id}"
        place = self._page_tokens.place(request.resume_token, conditions) if request.resume_token else None
        if request.resume_token and place is None:
            raise violation(Invalid.RESUME_TOKEN_INVALID, "resume_token", request.resume_token)
        await self._adoption.read(market_id)
        async for told in self._watches.messages(market_id, place):
            yield watch_response(told, self._page_tokens.issue(told.place, conditions), self._now_s())

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

    async def ApproveMarket(
        self, request: pb.ApproveMarketRequest, context: ServicerContext[Any, Any]
    ) -> pb.ApproveMarketResponse:
        """Send `approve_proposal`, and answer where it stands."""
        return pb.ApproveMarketResponse(**await self._moved(request, Action.APPROVE))

    async def ActivateMarket(
        self, request: pb.ActivateMarketRequest, context: ServicerContext[Any, Any]
    ) -> pb.ActivateMarketResponse:
        """Send `activate_market`, and answer where it stands."""
        return pb.ActivateMarketResponse(**await self._moved(request, Action.ACTIVATE))

    async def CancelMarket(
        self, request: pb.CancelMarketRequest, context: ServicerContext[Any, Any]
    ) -> pb.CancelMarketResponse:
        """Send `cancel_market`, and answer where it stands."""
        return pb.CancelMarketResponse(**await self._moved(request, Action.CANCEL))

    async def FinalizeMarket(
        self, request: pb.FinalizeMarketRequest, context: ServicerContext[Any, Any]
    ) -> pb.FinalizeMarketResponse:
        """Send what ends the market, and answer where it stands."""
        return pb.FinalizeMarketResponse(**await self._moved(request, Action.FINALIZE))

    async def _moved(self, request: MoveRequest, action: Action) -> dict[str, str]:
        """Where the attempt stands, as the fields that all four answers have."""
        market_id, request_id = asked(request)
        attempt = await self._transitions.move(market_id, action, request_id)
        return {
            "market_id": market_id,
            "transaction_id": attempt.intent_id,
            "status": attempt.status.value,
            "transaction_signature": attempt.signature,
            "error_name": attempt.error_name,
        }
