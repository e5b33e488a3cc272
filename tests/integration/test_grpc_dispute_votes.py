"""Votes on disputes through a real server on loopback: weighed, exact at any size, never taken for their opposite."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest
from google.rpc import error_details_pb2 as details
from grpc import StatusCode

from domain.lifecycle import Lifecycle
from grpc_server import AccountsUnavailable
from grpc_server.adoption import LOOK_S
from tests.support.grpc_parts import Person, Served, failure, market_id_of, observed, served
from zmart.v1 import vote_service_pb2 as pb
from zmart.v1.vote_service_pb2_grpc import VoteServiceStub

MARKET = market_id_of(1)
U64_MAX = 2**64 - 1
SLOT = 77


@pytest.fixture
async def running() -> AsyncIterator[Served]:
    async with served() as running:
        running.accounts.put(observed(1, Person().wallet, Lifecycle.DISPUTED))
        yield running


def holder(running: Served, yes: int = 0, no: int = 0) -> Person:
    person = Person()
    running.positions.put(MARKET, person.wallet, yes, no, SLOT)
    return person


async def cast(running: Served, person: Person, vote: str, **more: str) -> pb.CastDisputeVoteResponse:
    request = pb.CastDisputeVoteRequest(**{"market_id": MARKET, "vote": vote, **more})
    answer = await VoteServiceStub(running.channel).CastDisputeVote(request, metadata=running.bearer(person))
    assert isinstance(answer, pb.CastDisputeVoteResponse)
    return answer


async def tally(running: Served) -> pb.DisputeTally:
    answer = await VoteServiceStub(running.channel).GetTally(pb.GetTallyRequest(market_id=MARKET))
    return answer.dispute


async def test_support_says_that_the_resolution_is_wrong_and_weight_decides_not_heads(running: Served) -> None:
    """Three wallets against one, but the one holds more: asymmetric on purpose (T9, T10)."""
    for _ in range(3):
        await cast(running, holder(running, yes=1, no=2), "reject")
    answer = await cast(running, holder(running, yes=20, no=1), "support")
    assert (answer.success, answer.weight, answer.weight_slot) == (True, "21", SLOT)
    assert (answer.vote_count.support, answer.vote_count.reject) == ("21", "9")
    found = await tally(running)
    assert (found.support, found.reject, found.support_voters, found.reject_voters) == ("21", "9", 1, 3)
    assert (found.percentage_bps, found.threshold_met) == (7000, True)
    market = running.town.markets[MARKET]
    assert (market.dispute.yes, market.dispute.no) == (21, 9), "yes is support is `the resolution is wrong`"
    assert market.proposal.voters == 0


@pytest.mark.parametrize(
    ("support", "reject", "bps", "met"), [(6, 4, 6000, True), (599, 401, 5990, False), (0, 3, 0, False)]
)
async def test_a_dispute_needs_sixty_percent_of_the_weight(
    running: Served, support: int, reject: int, bps: int, met: bool
) -> None:
    for word, weight in (("support", support), ("reject", reject)):
        if weight:
            await cast(running, holder(running, yes=weight), word)
    found = await tally(running)
    assert (found.percentage_bps, found.threshold_met) == (bps, met)


async def test_weights_and_their_sums_are_exact_beyond_64_bits(running: Served) -> None:
    answer = await cast(running, holder(running, U64_MAX, U64_MAX), "support")
    assert answer.weight == str(2 * U64_MAX)
    await cast(running, holder(running, U64_MAX), "support")
    answer = await cast(running, holder(running, 2**53 + 1), "reject")
    assert (answer.vote_count.support, answer.vote_count.reject) == (str(3 * U64_MAX), str(2**53 + 1))
    found = await tally(running)
    assert (found.support, found.reject) == (str(3 * U64_MAX), str(2**53 + 1))


async def test_a_wallet_without_shares_is_refused(running: Served) -> None:
    for person in (Person(), holder(running)):
        failed = await failure(cast(running, person, "support"))
        assert (failed.code, failed.info.reason) == (StatusCode.PERMISSION_DENIED, "NO_POSITION")
        assert dict(failed.info.metadata) == {"market_id": MARKET}
    assert (await tally(running)).support_voters == 0


async def test_a_second_vote_is_refused_and_a_repeat_is_answered_as_the_first_time(running: Served) -> None:
    person, request_id = holder(running, yes=7), str(uuid.uuid4())
    first = await cast(running, person, "support", request_id=request_id)
    await cast(running, holder(running, no=5), "reject")
    assert await cast(running, person, "support", request_id=request_id) == first
    for word, more, reason in (
        ("reject", {}, "ALREADY_VOTED"),
        ("reject", {"request_id": request_id}, "REQUEST_ID_REUSED"),
    ):
        assert (await failure(cast(running, person, word, **more))).info.reason == reason
    assert (await tally(running)).support == "7"


async def test_a_repeat_is_answered_after_the_dispute_has_ended(running: Served) -> None:
    person, request_id = holder(running, yes=7), str(uuid.uuid4())
    first = await cast(running, person, "support", request_id=request_id)
    running.town.put(replace(running.town.markets[MARKET], state=Lifecycle.FINALIZED))
    assert (await failure(cast(running, holder(running, no=1), "reject"))).info.reason == "WRONG_STATE"
    assert await cast(running, person, "support", request_id=request_id) == first


@pytest.mark.parametrize("state", [Lifecycle.PROPOSED, Lifecycle.ACTIVE, Lifecycle.RESOLVING, Lifecycle.FINALIZED])
async def test_only_a_disputed_market_takes_such_votes(running: Served, state: Lifecycle) -> None:
    running.accounts.put(observed(1, Person().wallet, state))
    for person in (holder(running, yes=7), Person()):
        failed = await failure(cast(running, person, "support"))
        assert (failed.code, failed.info.reason) == (StatusCode.FAILED_PRECONDITION, "WRONG_STATE")
        assert dict(failed.info.metadata) == {"market_id": MARKET, "actual": state.name, "wanted": "DISPUTED"}
    assert running.positions.reads == [], "nobody makes us read positions that cannot vote"


async def test_a_market_disputed_since_we_looked_is_looked_at_again(running: Served) -> None:
    running.accounts.put(observed(1, Person().wallet, Lifecycle.RESOLVING))
    person = holder(running, yes=7)
    assert (await failure(cast(running, person, "support"))).info.reason == "WRONG_STATE"
    running.accounts.put(observed(1, person.wallet, Lifecycle.DISPUTED, slot=11))
    assert (await failure(cast(running, person, "support"))).info.reason == "WRONG_STATE"
    running.clock.at_s += LOOK_S
    assert (await cast(running, person, "support")).success
    assert len(running.accounts.reads) == 2


async def test_without_the_chain_no_weight_is_known(running: Served) -> None:
    person = holder(running, yes=7)
    running.positions.outage = AccountsUnavailable("rpc.internal refused")
    failed = await failure(cast(running, person, "support"))
    assert (failed.code, failed.info.reason) == (StatusCode.UNAVAILABLE, "CHAIN_UNAVAILABLE")
    assert failed.detail(details.RetryInfo).retry_delay.ToMilliseconds() == 1000
    assert "rpc.internal" not in repr(failed)
    running.positions.outage = None
    assert (await cast(running, person, "support")).success


@pytest.mark.parametrize("word", ["like", "dislike", "agree", "Support", ""])
async def test_only_support_and_reject_are_votes_on_a_dispute(running: Served, word: str) -> None:
    failed = await failure(cast(running, holder(running, yes=7), word))
    assert (failed.code, failed.info.reason) == (StatusCode.INVALID_ARGUMENT, "VOTE_WORD_UNKNOWN")
    assert running.positions.reads == []


async def test_a_proposal_voter_may_vote_on_the_dispute(running: Served) -> None:
    """Uniqueness is per type (T3)."""
    person = holder(running, yes=7)
    running.accounts.put(observed(1, person.wallet))
    stub = VoteServiceStub(running.channel)
    await stub.CastProposalVote(
        pb.CastProposalVoteRequest(market_id=MARKET, vote="like"), metadata=running.bearer(person)
    )
    running.accounts.put(observed(1, person.wallet, Lifecycle.DISPUTED, slot=11))
    running.clock.at_s += LOOK_S
    assert (await cast(running, person, "support")).success
