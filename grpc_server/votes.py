"""VoteService: votes in, tallies and stored votes out."""
# ruff: noqa: N802, ARG002 - grpc calls these methods by the contract's names and hands each a context

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any

from grpc.aio import ServicerContext

from domain.commands import CastVote
from domain.outcomes import Done, VoteTaken
from grpc_server import translate, translate_audit
from grpc_server.adoption import Adoption
from grpc_server.bulk import BulkVotes
from grpc_server.calls import calling_wallet
from grpc_server.exports import VoteExports
from grpc_server.page_tokens import PageTokens
from grpc_server.ports import MarketBook, VoteBook, VotePlace
from grpc_server.problems import Rejected
from grpc_server.proofs import VoteProofs
from grpc_server.receipts import ReceiptDesk
from grpc_server.signatures import signed_well
from grpc_server.vote_streams import VoteStreams
from grpc_server.weights import Weights
from identity import VoteSignatures
from zmart.v1 import vote_service_pb2 as pb
from zmart.v1.vote_service_pb2_grpc import VoteServiceServicer


@dataclass(frozen=True, slots=True)
class VoteAudit:
    """What makes votes checkable by others: what wallets sign, what we sign, and what anybody may ask for."""

    signatures: VoteSignatures
    desk: ReceiptDesk
    proofs: VoteProofs
    exports: VoteExports


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
        audit: VoteAudit,
        new_id: Callable[[], str],
    ) -> None:
        self._adoption = adoption
        self._weights = weights
        self._bulk = bulk
        self._streams = streams
        self._book = book
        self._votes = votes
        self._page_tokens = page_tokens
        self._audit = audit
        self._new_id = new_id

    async def CastProposalVote(
        self, request: pb.CastProposalVoteRequest, context: ServicerContext[Any, Any]
    ) -> pb.CastProposalVoteResponse:
        """Answer after the vote is stored; a repeat with the same request_id is answered as the first time."""
        vote = self._signed_well(translate.proposal_vote(request, calling_wallet(), self._new_id()))
        taken = await self._taken(vote)
        return translate.proposal_vote_response(taken, await self._receipt(vote, taken))

    async def CastDisputeVote(
        self, request: pb.CastDisputeVoteRequest, context: ServicerContext[Any, Any]
    ) -> pb.CastDisputeVoteResponse:
        """Answer after the vote is stored with the weight that the chain shows; repeats as above."""
        unweighed = self._signed_well(translate.dispute_vote(request, calling_wallet(), self._new_id()))
        vote = await self._weights.weighed(unweighed)
        taken = await self._taken(vote)
        return translate.dispute_vote_response(vote, taken, await self._receipt(vote, taken))

    async def CastVotes(self, request: pb.CastVotesRequest, context: ServicerContext[Any, Any]) -> pb.CastVotesResponse:
        """Answer once every vote is stored or refused."""
        answered = await self._bulk.cast(request.votes)
        return pb.CastVotesResponse(results=answered.results, receipts=answered.receipts)

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

    async def GetVoteProof(
        self, request: pb.GetVoteProofRequest, context: ServicerContext[Any, Any]
    ) -> pb.GetVoteProofResponse:
        """Answer the way from a vote's leaf to a root that was published, or to that of the log as it is."""
        proof = await self._audit.proofs.proof(translate_audit.proof_wanted(request))
        return translate_audit.proof_response(proof)

    async def ExportVotes(
        self, request: pb.ExportVotesRequest, context: ServicerContext[Any, Any]
    ) -> AsyncIterator[pb.ExportVotesResponse]:
        """Stream the lines of an export; the next ones are read when these are on their way."""
        async for lines in self._audit.exports.lines(translate.market_id(request.market_id)):
            yield pb.ExportVotesResponse(lines=lines)

    def _signed_well(self, vote: CastVote) -> CastVote:
        return signed_well(vote, self._audit.signatures)

    async def _receipt(self, vote: CastVote, taken: VoteTaken) -> pb.VoteReceipt:
        return translate_audit.vote_receipt(await self._audit.desk.receipt(translate_audit.log_place(vote, taken)))

    async def _taken(self, vote: CastVote) -> VoteTaken:
        outcome = await self._adoption.submit(vote)
        if isinstance(outcome, VoteTaken):
            return outcome
        assert not isinstance(outcome, Done), "a vote is taken or refused"
        raise Rejected(outcome)
