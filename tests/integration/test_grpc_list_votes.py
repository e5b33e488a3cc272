"""Stored votes in pages, through a real server on loopback."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from grpc import StatusCode

from domain.lifecycle import Lifecycle
from grpc_server import BookUnavailable
from grpc_server.adoption import LOOK_S
from tests.support.grpc_parts import START_S, Person, Served, failure, market_id_of, observed, served
from zmart.v1 import vote_service_pb2 as pb
from zmart.v1.vote_service_pb2_grpc import VoteServiceStub

MARKET = market_id_of(1)


@pytest.fixture
async def running() -> AsyncIterator[Served]:
    async with served() as running:
        running.accounts.put(observed(1, Person().wallet))
        yield running


async def voted(running: Served, count: int) -> list[str]:
    """So many proposal votes, then one on the dispute; returns the ids, newest first."""
    stub, ids = VoteServiceStub(running.channel), []
    for number in range(count):
        request = pb.CastProposalVoteRequest(market_id=MARKET, vote="dislike" if number % 2 else "like")
        ids.append((await stub.CastProposalVote(request, metadata=running.bearer(Person()))).vote_id)
    person = Person()
    running.accounts.put(observed(1, person.wallet, Lifecycle.DISPUTED, slot=11))
    running.positions.put(MARKET, person.wallet, 2**64, 1)
    running.clock.at_s += LOOK_S
    dispute = pb.CastDisputeVoteRequest(market_id=MARKET, vote="reject")
    ids.append((await stub.CastDisputeVote(dispute, metadata=running.bearer(person))).vote_id)
    return ids[::-1]


async def pages(running: Served, **conditions: object) -> list[pb.ListVotesResponse]:
    found, token = list[pb.ListVotesResponse](), ""
    while token or not found:
        request = pb.ListVotesRequest(market_id=MARKET, page_token=token, **conditions)  # type: ignore[arg-type]
        found.append(await VoteServiceStub(running.channel).ListVotes(request))
        token = found[-1].next_page_token
    return found


async def test_votes_come_newest_first_in_pages(running: Served) -> None:
    ids = await voted(running, 6)
    found = await pages(running, page_size=3)
    assert [len(page.votes) for page in found] == [3, 3, 1]
    assert [vote.vote_id for page in found for vote in page.votes] == ids


@pytest.mark.parametrize(("vote_type", "count"), [("proposal", 4), ("dispute", 1), ("", 5)])
async def test_one_type_or_both(running: Served, vote_type: str, count: int) -> None:
    await voted(running, 4)
    votes = [vote for page in await pages(running, vote_type=vote_type, page_size=2) for vote in page.votes]
    assert len(votes) == count
    assert {vote.vote_type for vote in votes} == ({vote_type} if vote_type else {"proposal", "dispute"})


async def test_a_vote_is_listed_in_the_specifications_words(running: Served) -> None:
    await voted(running, 2)
    (page,) = await pages(running)
    words = [(vote.vote_type, vote.vote, vote.weight, vote.source) for vote in page.votes]
    assert words == [
        ("dispute", "reject", str(2**64 + 1), "api"),
        ("proposal", "dislike", "1", "api"),
        ("proposal", "like", "1", "api"),
    ]
    dispute, proposal, _ = page.votes
    assert (dispute.weight_slot, proposal.HasField("weight_slot")) == (77, False)
    assert (proposal.market_id, proposal.created_at.seconds, proposal.transaction_signature) == (MARKET, START_S, "")


async def test_no_votes_are_an_empty_page_and_no_market_is_not_found(running: Served) -> None:
    stub = VoteServiceStub(running.channel)
    assert await stub.ListVotes(pb.ListVotesRequest(market_id=MARKET)) == pb.ListVotesResponse()
    failed = await failure(stub.ListVotes(pb.ListVotesRequest(market_id=market_id_of(9))))
    assert (failed.code, failed.info.reason) == (StatusCode.NOT_FOUND, "MARKET_NOT_FOUND")


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"market_id": "?"}, "MARKET_ID_MALFORMED"),
        ({"vote_type": "Proposal"}, "VOTE_TYPE_UNKNOWN"),
        ({"page_size": -1}, "PAGE_SIZE_NEGATIVE"),
        ({"page_token": "x"}, "PAGE_TOKEN_INVALID"),
    ],
)
async def test_malformed_conditions_name_their_field(running: Served, changes: dict[str, object], reason: str) -> None:
    request = pb.ListVotesRequest(**{"market_id": MARKET, **changes})  # type: ignore[arg-type]
    failed = await failure(VoteServiceStub(running.channel).ListVotes(request))
    assert (failed.code, failed.info.reason) == (StatusCode.INVALID_ARGUMENT, reason)


async def test_a_token_is_good_for_its_own_conditions_only(running: Served) -> None:
    await voted(running, 4)
    token = (await pages(running, page_size=2))[0].next_page_token
    running.accounts.put(observed(2, Person().wallet))
    for changes in ({"vote_type": "proposal"}, {"market_id": market_id_of(2)}):
        request = pb.ListVotesRequest(**{"market_id": MARKET, "page_token": token, **changes})  # type: ignore[arg-type]
        failed = await failure(VoteServiceStub(running.channel).ListVotes(request))
        assert failed.info.reason == "PAGE_TOKEN_INVALID"


async def test_an_outage_of_the_database_is_unavailable(running: Served) -> None:
    running.town.votes.outage = BookUnavailable("db.internal refused")
    failed = await failure(VoteServiceStub(running.channel).ListVotes(pb.ListVotesRequest(market_id=MARKET)))
    assert (failed.code, failed.info.reason) == (StatusCode.UNAVAILABLE, "DATABASE_UNAVAILABLE")
