"""Votes and tallies through a real server on loopback, over twins that run the real rules."""

import uuid
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest
from google.rpc import error_details_pb2 as details
from grpc import StatusCode

from domain.lifecycle import Lifecycle
from grpc_server import AccountsUnavailable, BookUnavailable, MarketFailed, OutcomeUnknown, ShardUnavailable
from identity import Tier
from tests.support.grpc_parts import SERVICE_KEY, Person, Served, failure, market_id_of, observed, served
from zmart.v1 import vote_service_pb2 as pb
from zmart.v1.vote_service_pb2_grpc import VoteServiceStub

MARKET = market_id_of(1)


@pytest.fixture
async def running() -> AsyncIterator[Served]:
    async with served() as running:
        running.accounts.put(observed(1, Person().wallet))
        yield running


@pytest.fixture
def person() -> Person:
    return Person()


def ballot(vote: str = "like", **more: str) -> pb.CastProposalVoteRequest:
    return pb.CastProposalVoteRequest(**{"market_id": MARKET, "vote": vote, **more})


async def test_seven_likes_and_three_dislikes_are_seventy_percent(running: Served) -> None:
    stub = VoteServiceStub(running.channel)
    answers = [
        await stub.CastProposalVote(ballot("dislike" if n < 3 else "like"), metadata=running.bearer(Person()))
        for n in range(10)
    ]
    assert (answers[-1].success, answers[-1].vote_count.likes, answers[-1].vote_count.dislikes) == (True, 7, 3)
    assert len({uuid.UUID(answer.vote_id) for answer in answers}) == 10
    tally = await stub.GetTally(pb.GetTallyRequest(market_id=MARKET))
    assert (tally.proposal.likes, tally.proposal.dislikes) == (7, 3)
    assert (tally.proposal.percentage_bps, tally.proposal.threshold_bps) == (7000, 7000)
    assert tally.proposal.threshold_met
    assert tally.version == 11


async def test_a_second_vote_by_the_same_wallet_is_refused(running: Served, person: Person) -> None:
    stub = VoteServiceStub(running.channel)
    await stub.CastProposalVote(ballot(), metadata=running.bearer(person))
    failed = await failure(stub.CastProposalVote(ballot("dislike"), metadata=running.bearer(person)))
    assert (failed.code, failed.info.reason) == (StatusCode.ALREADY_EXISTS, "ALREADY_VOTED")
    assert dict(failed.info.metadata) == {"market_id": MARKET}
    assert (await stub.GetTally(pb.GetTallyRequest(market_id=MARKET))).proposal.dislikes == 0


async def test_a_repeat_with_the_same_request_id_is_answered_as_the_first_time(running: Served, person: Person) -> None:
    stub = VoteServiceStub(running.channel)
    request = ballot(request_id=str(uuid.uuid4()))
    first = await stub.CastProposalVote(request, metadata=running.bearer(person))
    await stub.CastProposalVote(ballot(), metadata=running.bearer(Person()))
    assert await stub.CastProposalVote(request, metadata=running.bearer(person)) == first


async def test_a_request_id_with_another_body_is_refused(running: Served, person: Person) -> None:
    stub = VoteServiceStub(running.channel)
    request_id = str(uuid.uuid4())
    await stub.CastProposalVote(ballot("like", request_id=request_id), metadata=running.bearer(person))
    other = stub.CastProposalVote(ballot("dislike", request_id=request_id), metadata=running.bearer(person))
    failed = await failure(other)
    assert (failed.code, failed.info.reason) == (StatusCode.INVALID_ARGUMENT, "REQUEST_ID_REUSED")


async def test_a_vote_in_the_wrong_state_names_both_states(running: Served, person: Person) -> None:
    running.accounts.put(observed(2, person.wallet, Lifecycle.ACTIVE))
    stub = VoteServiceStub(running.channel)
    failed = await failure(stub.CastProposalVote(ballot(market_id=market_id_of(2)), metadata=running.bearer(person)))
    assert (failed.code, failed.info.reason) == (StatusCode.FAILED_PRECONDITION, "WRONG_STATE")
    assert dict(failed.info.metadata) == {"market_id": market_id_of(2), "actual": "ACTIVE", "wanted": "PROPOSED"}
    assert failed.detail(details.PreconditionFailure).violations[0].subject == market_id_of(2)


async def test_a_vote_while_the_tallies_are_on_their_way_is_refused(running: Served, person: Person) -> None:
    stub = VoteServiceStub(running.channel)
    await stub.CastProposalVote(ballot(), metadata=running.bearer(Person()))
    running.town.put(replace(running.town.markets[MARKET], voting_closed=True))
    failed = await failure(stub.CastProposalVote(ballot(), metadata=running.bearer(person)))
    assert (failed.code, failed.info.reason) == (StatusCode.FAILED_PRECONDITION, "VOTING_CLOSING")


async def test_an_unknown_market_is_not_found_whoever_asks(running: Served, person: Person) -> None:
    stub = VoteServiceStub(running.channel)
    unknown = market_id_of(99)
    for call in (
        stub.CastProposalVote(ballot(market_id=unknown), metadata=running.bearer(person)),
        stub.GetTally(pb.GetTallyRequest(market_id=unknown)),
    ):
        failed = await failure(call)
        assert (failed.code, failed.info.reason) == (StatusCode.NOT_FOUND, "MARKET_NOT_FOUND")
        assert failed.detail(details.ResourceInfo).resource_name == unknown


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"vote": "maybe"}, "VOTE_WORD_UNKNOWN"),
        ({"vote": "support"}, "VOTE_WORD_UNKNOWN"),
        ({"market_id": "not an id"}, "MARKET_ID_MALFORMED"),
        ({"request_id": "not a uuid"}, "REQUEST_ID_MALFORMED"),
    ],
)
async def test_a_malformed_vote_is_an_invalid_argument_and_reaches_no_actor(
    running: Served, person: Person, changes: dict[str, str], reason: str
) -> None:
    request = ballot(**{"vote": "like", **changes})
    failed = await failure(VoteServiceStub(running.channel).CastProposalVote(request, metadata=running.bearer(person)))
    assert (failed.code, failed.info.reason) == (StatusCode.INVALID_ARGUMENT, reason)
    assert failed.detail(details.BadRequest).field_violations[0].field == next(iter(changes))
    assert running.town.commands == []


@pytest.mark.parametrize(
    ("outage", "code", "reason"),
    [
        (OutcomeUnknown(5.0), StatusCode.UNAVAILABLE, "OUTCOME_UNKNOWN"),
        (ShardUnavailable("no owner"), StatusCode.UNAVAILABLE, "SHARD_UNAVAILABLE"),
        (MarketFailed("incident 7"), StatusCode.INTERNAL, "INTERNAL"),
    ],
)
async def test_an_outage_of_the_actors_says_whether_to_repeat(
    running: Served, person: Person, outage: Exception, code: StatusCode, reason: str
) -> None:
    running.town.outage = outage
    failed = await failure(VoteServiceStub(running.channel).CastProposalVote(ballot(), metadata=running.bearer(person)))
    assert (failed.code, failed.info.reason) == (code, reason)
    assert ("google.rpc.RetryInfo" in failed.details) == (code is StatusCode.UNAVAILABLE)


async def test_an_outage_of_the_chain_or_the_database_is_unavailable(running: Served, person: Person) -> None:
    stub = VoteServiceStub(running.channel)
    running.accounts.outage = AccountsUnavailable("rpc.internal refused")
    failed = await failure(stub.CastProposalVote(ballot(), metadata=running.bearer(person)))
    assert (failed.code, failed.info.reason) == (StatusCode.UNAVAILABLE, "CHAIN_UNAVAILABLE")
    assert "rpc.internal" not in repr(failed)
    running.town.outage = BookUnavailable("db.internal refused")
    failed = await failure(stub.GetTally(pb.GetTallyRequest(market_id=MARKET)))
    assert (failed.code, failed.info.reason) == (StatusCode.UNAVAILABLE, "DATABASE_UNAVAILABLE")
    assert "db.internal" not in repr(failed)


async def test_without_a_token_nobody_votes(running: Served) -> None:
    stub = VoteServiceStub(running.channel)
    failed = await failure(stub.CastProposalVote(ballot()))
    assert (failed.code, failed.info.reason) == (StatusCode.UNAUTHENTICATED, "TOKEN_MISSING")
    failed = await failure(stub.CastProposalVote(ballot(), metadata=(("x-service-key", "wrong"),)))
    assert (failed.code, failed.info.reason) == (StatusCode.UNAUTHENTICATED, "TOKEN_MISSING")
    assert running.town.commands == []


@pytest.mark.parametrize(
    ("authorization", "reason"),
    [("Bearer x", "TOKEN_MALFORMED"), ("Basic eDp5", "AUTHORIZATION_MALFORMED"), ("", "AUTHORIZATION_MALFORMED")],
)
async def test_a_bad_token_is_refused_even_where_none_is_needed(
    running: Served, authorization: str, reason: str
) -> None:
    stub = VoteServiceStub(running.channel)
    metadata = (("authorization", authorization),)
    for call in (
        stub.CastProposalVote(ballot(), metadata=metadata),
        stub.GetTally(pb.GetTallyRequest(market_id=MARKET), metadata=metadata),
    ):
        failed = await failure(call)
        assert (failed.code, failed.info.reason) == (StatusCode.UNAUTHENTICATED, reason)


async def test_two_tokens_in_one_call_are_none(running: Served, person: Person) -> None:
    metadata = (*running.bearer(Person()), *running.bearer(person))
    failed = await failure(VoteServiceStub(running.channel).CastProposalVote(ballot(), metadata=metadata))
    assert failed.info.reason == "AUTHORIZATION_MALFORMED"


async def test_an_expired_token_is_refused(running: Served, person: Person) -> None:
    metadata = running.bearer(person)
    running.clock.at_s += 15 * 60
    failed = await failure(VoteServiceStub(running.channel).CastProposalVote(ballot(), metadata=metadata))
    assert (failed.code, failed.info.reason) == (StatusCode.UNAUTHENTICATED, "TOKEN_EXPIRED")


async def test_a_caller_without_a_wallet_cannot_vote(running: Served) -> None:
    stub = VoteServiceStub(running.channel)
    for metadata in (running.bearer(None, Tier.ADMIN), (("x-service-key", SERVICE_KEY),)):
        failed = await failure(stub.CastProposalVote(ballot(), metadata=metadata))
        assert (failed.code, failed.info.reason) == (StatusCode.PERMISSION_DENIED, "WALLET_MISSING")


async def test_a_wallet_is_below_the_tier_of_bulk_votes(running: Served, person: Person) -> None:
    failed = await failure(
        VoteServiceStub(running.channel).CastVotes(pb.CastVotesRequest(), metadata=running.bearer(person))
    )
    assert (failed.code, failed.info.reason) == (StatusCode.PERMISSION_DENIED, "TIER_TOO_LOW")
    assert dict(failed.info.metadata) == {"needed": "SERVICE", "actual": "WALLET"}


async def test_concurrent_votes_of_one_wallet_are_one_vote(running: Served, person: Person) -> None:
    stub = VoteServiceStub(running.channel)
    calls = [stub.CastProposalVote(ballot(), metadata=running.bearer(person)) for _ in range(20)]
    codes = [await call.code() for call in calls]
    assert (codes.count(StatusCode.OK), codes.count(StatusCode.ALREADY_EXISTS)) == (1, 19)
    assert (await stub.GetTally(pb.GetTallyRequest(market_id=MARKET))).proposal.likes == 1
