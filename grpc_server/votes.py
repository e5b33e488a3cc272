"""VoteService: votes in, tallies and stored votes out."""
# ruff: noqa: N802, ARG002 - grpc calls these methods by the contract's names and hands each a context

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any

from grpc.aio import ServicerContext

from domain.commands import CastVote
from domain.outcomes import Done, VoteTaken
from grpc_server import translate
from grpc_server.adoption import Adoption
from grpc_server.bulk import BulkVotes
from grpc_server.calls import calling_wallet
from grpc_server.page_tokens import PageTokens
from grpc_server.ports import MarketBook, VoteBook, VotePlace
from grpc_server.problems import Rejected
from grpc_server.vote_streams import VoteStreams
from grpc_server.weights import Weights
from zmart.v1 import vote_service_pb2 as pb
from zmart.v1.vote_service_pb2_grpc import VoteServiceServicer


class VoteService(VoteServiceServicer):
    """A vote is a command to its market's actor; tallies and votes are read as last committed. `new_id` gives UUIDs."""

    def __init__(
        self,
        adoption: Adoption,
        weights: Weights,
        bulk: BulkVotes,
        streams: VoteStreams,
        book: MarketBook,
        votes: VoteBook,
        page_tokens: PageTokens,
        new_id: Callable[[], str],
    ) -> None:
        self._adoption = adoption
        self._weights = weights
        self._bulk = bulk
        self._streams = streams
        self._book = book
        self._votes = votes
        self._page_tokens = page_tokens
        self._new_id = new_id

    async def CastProposalVote(
        self, request: pb.CastProposalVoteRequest, context: ServicerContext[Any, Any]
    ) -> pb.CastProposalVoteResponse:
        """Answer after the vote is stored; a repeat with the same request_id is answered as the first time."""
        vote = translate.proposal_vote(request, calling_wallet(), self._new_id())
        return translate.proposal_vote_response(await self._taken(vote))

    async def CastDisputeVote(
        self, request: pb.CastDisputeVoteRequest, context: ServicerContext[Any, Any]
    ) -> pb.CastDisputeVoteResponse:
        """Answer after the vote is stored with the weight that the chain shows; repeats as above."""
        vote = await self._weights.weighed(translate.dispute_vote(request, calling_wallet(), self._new_id()))
        return translate.dispute_vote_response(vote, await self._taken(vote))

    async def CastVotes(self, request: pb.CastVotesRequest, context: ServicerContext[Any, Any]) -> pb.CastVotesResponse:
        """Answer once every vote is stored or refused."""
        return pb.CastVotesResponse(results=await self._bulk.cast(request.votes))

    async def StreamVotes(
        self, request_iterator: AsyncIterator[pb.StreamVotesRequest], context: ServicerContext[Any, Any]
    ) -> AsyncIterator[pb.StreamVotesResponse]:
        """Answer each message as CastVotes would, in order."""
        async for response in self._streams.answers(request_iterator):
            yield response

    async def GetTally(self, request: pb.GetTallyRequest, context: ServicerContext[Any, Any]) -> pb.GetTallyResponse:
        """Answer both tallies of one version of the market."""
        market, _ = await self._adoption.read(translate.market_id(request.market_id))
        return translate.tally_response(market, await self._book.config())

    async def ListVotes(self, request: pb.ListVotesRequest, context: ServicerContext[Any, Any]) -> pb.ListVotesResponse:
        """Answer one page, newest first; asks for one row more to know whether there is another page."""
        market_id, vote_type, size = translate.vote_listing(request)
        conditions = f"ListVotes market_id={market_id} vote_type={request.vote_type}"
        after = self._page_tokens.read(request.page_token, conditions)
        votes = list(await self._votes.list(market_id, vote_type, after, size + 1))
        if not votes:
            await self._adoption.read(market_id)  # no votes is one thing, no market another
        if len(votes) <= size:
            return translate.votes_response(votes, "")
        last = VotePlace(votes[size - 1].market_version, votes[size - 1].vote_id)
        return translate.votes_response(votes[:size], self._page_tokens.issue(last, conditions))

    async def _taken(self, vote: CastVote) -> VoteTaken:
        outcome = await self._adoption.submit(vote)
        if isinstance(outcome, VoteTaken):
            return outcome
        assert not isinstance(outcome, Done), "a vote is taken or refused"
        raise Rejected(outcome)
