"""VoteService: votes in, tallies out."""
# ruff: noqa: N802, ARG002 - grpc calls these methods by the contract's names and hands each a context

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from grpc.aio import ServicerContext

from domain.outcomes import Done, VoteTaken
from grpc_server import translate
from grpc_server.adoption import Adoption
from grpc_server.calls import calling_wallet
from grpc_server.ports import MarketBook
from grpc_server.problems import Rejected
from zmart.v1 import vote_service_pb2 as pb
from zmart.v1.vote_service_pb2_grpc import VoteServiceServicer


class VoteService(VoteServiceServicer):
    """A vote is a command to its market's actor; a tally is read as last committed. `new_id` gives UUIDs."""

    def __init__(self, adoption: Adoption, book: MarketBook, new_id: Callable[[], str]) -> None:
        self._adoption = adoption
        self._book = book
        self._new_id = new_id

    async def CastProposalVote(
        self, request: pb.CastProposalVoteRequest, context: ServicerContext[Any, Any]
    ) -> pb.CastProposalVoteResponse:
        """Answer after the vote is stored; a repeat with the same request_id is answered as the first time."""
        vote = translate.proposal_vote(request, calling_wallet(), self._new_id())
        outcome = await self._adoption.submit(vote)
        if isinstance(outcome, VoteTaken):
            return translate.proposal_vote_response(outcome)
        assert not isinstance(outcome, Done), "a vote is taken or refused"
        raise Rejected(outcome)

    async def GetTally(self, request: pb.GetTallyRequest, context: ServicerContext[Any, Any]) -> pb.GetTallyResponse:
        """Answer both tallies of one version of the market."""
        market, _ = await self._adoption.read(translate.market_id(request.market_id))
        return translate.tally_response(market, await self._book.config())
