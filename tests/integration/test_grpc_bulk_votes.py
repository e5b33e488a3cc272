"""Votes in bulk through a real server on loopback: one answer for each, in order, as the single call would give it."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Sequence
from typing import Any

import grpc
import pytest
from google.rpc.error_details_pb2 import ErrorInfo, RetryInfo
from google.rpc.status_pb2 import Status
from grpc import StatusCode
from grpc.aio import AioRpcError

from domain.ids import base58_encode
from domain.lifecycle import Lifecycle
from grpc_server import AccountsUnavailable, OutcomeUnknown, ShardUnavailable, bulk, vote_streams
from grpc_server.adoption import READS_MAX
from grpc_server.bulk import AT_WORK_MAX, VOTES_MAX
from grpc_server.methods import BULK_BYTES_MAX
from identity import Tier
from tests.support.eventually import eventually_async
from tests.support.grpc_parts import SERVICE_KEY, Person, Served, failure, failure_of, market_id_of, observed, served
from zmart.v1 import vote_service_pb2 as pb
from zmart.v1.vote_service_pb2_grpc import VoteServiceStub

MARKET, DISPUTED, ACTIVE = market_id_of(1), market_id_of(2), market_id_of(3)
SERVICE = (("x-service-key", SERVICE_KEY),)
OFF_CURVE = base58_encode((2).to_bytes(32, "little"))


@pytest.fixture
async def running() -> AsyncIterator[Served]:
    async with served() as running:
        creator = Person().wallet
        for number, state in ((1, Lifecycle.PROPOSED), (2, Lifecycle.DISPUTED), (3, Lifecycle.ACTIVE)):
            running.accounts.put(observed(number, creator, state))
        yield running


def ballot(wallet: str | None = None, vote: str = "like", market_id: str = MARKET, **more: str) -> pb.BulkVote:
    return pb.BulkVote(user_pubkey=wallet or Person().wallet, market_id=market_id, vote=vote, **more)


async def cast(running: Served, *votes: pb.BulkVote) -> list[pb.BulkVoteResult]:
    answer = await VoteServiceStub(running.channel).CastVotes(pb.CastVotesRequest(votes=votes), metadata=SERVICE)
    return list(answer.results)


def info(status: Status) -> ErrorInfo:
    found = ErrorInfo()
    assert status.details[0].Unpack(found)
    return found


def reasons(results: Sequence[pb.BulkVoteResult]) -> list[str]:
    """Of each refused vote its reason, of each taken one an empty text."""
    for result in results:
        assert result.success == bool(result.vote_id) == (not result.HasField("error"))
    return [info(result.error).reason if result.HasField("error") else "" for result in results]


# --- one message ------------------------------------------------------------------------------------------------------


async def test_votes_of_many_wallets_are_counted_and_answered_in_order(running: Served) -> None:
    wallets = [Person().wallet for _ in range(10)]
    results = await cast(running, *(ballot(wallet, "like" if n < 7 else "dislike") for n, wallet in enumerate(wallets)))
    assert reasons(results) == [""] * 10
    by_id = {row.vote_id: row for row in running.town.votes.rows}
    assert [by_id[result.vote_id].wallet for result in results] == wallets
    tally = running.town.markets[MARKET].proposal
    assert (tally.yes, tally.no) == (7, 3)


async def test_the_word_says_what_the_vote_is_about(running: Served) -> None:
    voter = Person().wallet
    running.positions.put(DISPUTED, voter, 2**64 - 1, 2)
    results = await cast(
        running,
        ballot(voter, "like", MARKET),
        ballot(voter, "support", DISPUTED),
        ballot(voter, "reject", MARKET),
        ballot(voter, "dislike", DISPUTED),
    )
    assert reasons(results) == ["", "", "WRONG_STATE", "WRONG_STATE"]
    assert [(row.vote_type.value, row.choice, row.weight) for row in running.town.votes.rows] == [
        ("proposal", True, 1),
        ("dispute", True, 2**64 + 1),
    ]


async def test_some_votes_are_refused_while_others_are_taken(running: Served) -> None:
    voter, holder = Person().wallet, Person().wallet
    running.positions.put(DISPUTED, holder, 5, 0)
    request_id = str(uuid.uuid4())
    await cast(running, ballot(voter), ballot(holder, request_id=request_id))
    results = await cast(
        running,
        ballot(),
        ballot(voter),
        ballot(market_id=market_id_of(99)),
        ballot(market_id=ACTIVE),
        ballot(vote="maybe"),
        ballot(market_id="no market"),
        ballot("nobody"),
        ballot(OFF_CURVE),
        ballot(request_id="no uuid"),
        ballot(holder, "dislike", request_id=request_id),
        ballot(vote="support", market_id=DISPUTED),
        ballot(holder, "reject", DISPUTED),
        ballot(),
    )
    assert reasons(results) == [
        "",
        "ALREADY_VOTED",
        "MARKET_NOT_FOUND",
        "WRONG_STATE",
        "VOTE_WORD_UNKNOWN",
        "MARKET_ID_MALFORMED",
        "ADDRESS_MALFORMED",
        "ADDRESS_CANNOT_SIGN",
        "REQUEST_ID_MALFORMED",
        "REQUEST_ID_REUSED",
        "NO_POSITION",
        "",
        "",
    ]


@pytest.mark.parametrize(
    ("vote", "market_id"), [("like", MARKET), ("like", market_id_of(99)), ("like", ACTIVE), ("like", "?")]
)
async def test_a_refused_vote_carries_the_status_of_the_single_call(running: Served, vote: str, market_id: str) -> None:
    person = Person()
    stub = VoteServiceStub(running.channel)
    await cast(running, ballot(person.wallet))
    (result,) = await cast(running, ballot(person.wallet, vote, market_id))
    with pytest.raises(AioRpcError) as caught:
        await stub.CastProposalVote(
            pb.CastProposalVoteRequest(market_id=market_id, vote=vote), metadata=running.bearer(person)
        )
    trailers = dict(caught.value.trailing_metadata() or ())
    assert result.error == Status.FromString(trailers["grpc-status-details-bin"])


async def test_a_repeat_is_answered_as_the_first_time(running: Served) -> None:
    votes = [ballot(request_id=str(uuid.uuid4())) for _ in range(3)]
    assert await cast(running, *votes) == await cast(running, *votes)
    assert running.town.markets[MARKET].proposal.yes == 3


async def test_votes_on_markets_that_nobody_knew_take_them_in_with_one_read_each(running: Served) -> None:
    markets = [market_id_of(number) for number in range(100, 140)]
    for number in range(100, 140):
        running.accounts.put(observed(number, Person().wallet))
    results = await cast(running, *(ballot(market_id=market) for market in markets for _ in range(3)))
    assert reasons(results) == [""] * 120
    assert sorted(running.accounts.reads) == sorted(markets)
    assert running.accounts.reading_max <= READS_MAX


async def test_an_outage_is_answered_to_the_votes_that_it_hits(running: Served) -> None:
    await cast(running, ballot())
    running.accounts.outage = AccountsUnavailable("rpc.internal refused")
    running.positions.outage = AccountsUnavailable("rpc.internal refused")
    results = await cast(running, ballot(), ballot(market_id=ACTIVE), ballot(vote="support", market_id=DISPUTED))
    assert reasons(results) == ["", "CHAIN_UNAVAILABLE", "CHAIN_UNAVAILABLE"]
    assert "internal" not in str(results)
    assert results[1].error.details[1].Is(RetryInfo.DESCRIPTOR)


async def test_positions_that_take_too_long_hold_no_other_vote_up(
    running: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    holders = [Person().wallet for _ in range(20)]
    for wallet in holders:
        running.positions.put(DISPUTED, wallet, 5, 0)
    assert reasons(await cast(running, ballot(holders[0], "support", DISPUTED))) == [""]
    running.positions.gate.clear()
    votes = [ballot(wallet, "support", DISPUTED) for wallet in holders[1:]]
    with monkeypatch.context() as hurried:
        hurried.setattr(bulk, "WEIGHING_S_MAX", 0.05)
        assert reasons(await cast(running, ballot(), *votes, ballot())) == ["", *["CHAIN_UNAVAILABLE"] * 19, ""]
    assert running.town.markets[DISPUTED].dispute.voters == 1
    running.positions.gate.set()
    assert reasons(await cast(running, *votes)) == [""] * 19


@pytest.mark.parametrize(
    ("outage", "reason"),
    [(OutcomeUnknown(5.0), "OUTCOME_UNKNOWN"), (ShardUnavailable("no owner"), "SHARD_UNAVAILABLE")],
)
async def test_votes_whose_outcome_is_unknown_say_so_one_by_one(
    running: Served, outage: Exception, reason: str
) -> None:
    running.town.outage = outage
    assert reasons(await cast(running, ballot(), ballot("nobody"), ballot())) == [reason, "ADDRESS_MALFORMED", reason]


async def test_an_empty_message_and_one_vote_too_many_are_refused_whole(running: Served) -> None:
    stub = VoteServiceStub(running.channel)
    wallet = Person().wallet
    full = [ballot(wallet)] * VOTES_MAX
    for votes, reason in (([], "VOTES_MISSING"), ([*full, ballot()], "VOTES_TOO_MANY")):
        failed = await failure(stub.CastVotes(pb.CastVotesRequest(votes=votes), metadata=SERVICE))
        assert (failed.code, failed.info.reason) == (StatusCode.INVALID_ARGUMENT, reason)
    assert running.town.commands == []
    assert reasons(await cast(running, *full)).count("") == 1


async def test_the_longest_legal_message_fits_its_limit() -> None:
    longest = pb.BulkVote(user_pubkey="z" * 44, market_id="f" * 64, vote="dislike", request_id=str(uuid.uuid4()))
    assert pb.CastVotesRequest(votes=[longest] * VOTES_MAX).ByteSize() <= BULK_BYTES_MAX


async def test_only_services_and_operators_vote_for_others(running: Served) -> None:
    stub = VoteServiceStub(running.channel)
    request = pb.CastVotesRequest(votes=[ballot()])
    assert (await stub.CastVotes(request, metadata=running.bearer(None, Tier.ADMIN))).results[0].success
    failed = await failure(stub.CastVotes(request, metadata=running.bearer(Person())))
    assert (failed.code, failed.info.reason) == (StatusCode.PERMISSION_DENIED, "TIER_TOO_LOW")
    failed = await failure(stub.CastVotes(request, metadata=(("x-service-key", "wrong"),)))
    assert (failed.code, failed.info.reason) == (StatusCode.UNAUTHENTICATED, "TOKEN_MISSING")


async def test_a_few_messages_are_cast_at_once_and_too_many_are_sent_away(
    running: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bulk, "ACCEPTED_MAX", AT_WORK_MAX + 2)
    await cast(running, ballot())
    running.town.gate.clear()
    calls = [asyncio.create_task(cast(running, ballot())) for _ in range(AT_WORK_MAX + 2)]
    await eventually_async(lambda: _is(running.town.waiting, AT_WORK_MAX))
    await eventually_async(lambda: _is(running.server.in_flight, AT_WORK_MAX + 2))
    failed = await failure(
        VoteServiceStub(running.channel).CastVotes(pb.CastVotesRequest(votes=[ballot()]), metadata=SERVICE)
    )
    assert (failed.code, failed.info.reason) == (StatusCode.UNAVAILABLE, "SERVER_BUSY")
    running.town.gate.set()
    assert [reasons(await call) for call in calls] == [[""]] * len(calls)
    assert running.town.waiting_max == AT_WORK_MAX


# --- streams ----------------------------------------------------------------------------------------------------------

Stream = grpc.aio.StreamStreamCall[pb.StreamVotesRequest, pb.StreamVotesResponse]


def opened(running: Served, **more: Any) -> Stream:
    stream: Stream = VoteServiceStub(running.channel).StreamVotes(metadata=SERVICE, **more)
    return stream


def message(*votes: pb.BulkVote) -> pb.StreamVotesRequest:
    return pb.StreamVotesRequest(votes=votes or [ballot()])


async def next_answer(stream: Stream) -> list[str]:
    """The reasons of the next answer; raises what ended the stream."""
    answer = await stream.read()
    assert isinstance(answer, pb.StreamVotesResponse)
    return reasons(answer.results)


async def answers(stream: Stream) -> list[list[str]]:
    """The reasons of every answer that is left."""
    return [reasons(answer.results) async for answer in stream]


async def test_a_stream_answers_each_message_at_once_and_in_order(running: Served) -> None:
    stream, voter = opened(running), Person().wallet
    for number in range(6):
        await stream.write(message(ballot(voter), ballot(), *[ballot("nobody")] * number))
        assert await next_answer(stream) == ["ALREADY_VOTED" if number else "", "", *["ADDRESS_MALFORMED"] * number]
    await stream.done_writing()
    assert await stream.read() is grpc.aio.EOF
    assert await stream.code() is StatusCode.OK


async def test_a_stream_reads_a_few_messages_ahead_and_no_more(running: Served) -> None:
    await cast(running, ballot())
    running.town.gate.clear()
    stream = opened(running)
    writing = asyncio.create_task(_write(stream, [message(*[ballot()] * (n + 1)) for n in range(40)]))
    await eventually_async(lambda: _is(running.town.waiting, vote_streams.IN_FLIGHT_MAX))
    assert len(running.town.commands) == 3 + 1 + 2 + 3 + 4, "the first call, then four messages"
    running.town.gate.set()
    found = await answers(stream)
    await writing
    assert [len(each) for each in found] == list(range(1, 41))
    assert running.town.waiting_max <= vote_streams.IN_FLIGHT_MAX


async def test_a_message_that_is_refused_ends_the_stream_after_the_answers_before_it(running: Served) -> None:
    for bad, reason in (
        (pb.StreamVotesRequest(), "VOTES_MISSING"),
        (message(*[ballot("x" * 300)] * 1000), "MESSAGE_TOO_LARGE"),
    ):
        stream = opened(running)
        await _write(stream, [message(), message(), bad])
        assert [await next_answer(stream) for _ in range(2)] == [[""], [""]]
        with pytest.raises(AioRpcError) as caught:
            await stream.read()
        failed = failure_of(caught.value)
        assert (failed.code, failed.info.reason) == (StatusCode.INVALID_ARGUMENT, reason)


async def test_a_stopping_server_answers_what_it_has_read_and_ends_the_stream(running: Served) -> None:
    await cast(running, ballot())
    running.town.gate.clear()
    stream = opened(running)
    await _write(stream, [message(), message()], done=False)
    await eventually_async(lambda: _is(running.town.waiting, 2))
    stopping = asyncio.create_task(running.server.stop(20))
    await eventually_async(lambda: _turned_away(running))
    running.town.gate.set()
    assert [await next_answer(stream) for _ in range(2)] == [[""], [""]]
    with pytest.raises(AioRpcError) as caught:
        await stream.read()
    failed = failure_of(caught.value)
    assert (failed.code, failed.info.reason) == (StatusCode.UNAVAILABLE, "SERVER_STOPPING")
    assert await stopping == 0, "an open stream holds no stop up"


async def test_a_client_that_goes_away_leaves_nothing_behind(running: Served) -> None:
    await cast(running, ballot())
    running.town.gate.clear()
    stream = opened(running)
    await _write(stream, [message() for _ in range(3)], done=False)
    await eventually_async(lambda: _is(running.town.waiting, 3))
    stream.cancel()
    await eventually_async(lambda: _is(running.server.in_flight, 0))
    running.town.gate.set()
    assert reasons(await cast(running, ballot())) == [""]


async def test_a_stream_is_for_services(running: Served) -> None:
    stream = VoteServiceStub(running.channel).StreamVotes(metadata=running.bearer(Person()))
    with pytest.raises(AioRpcError) as caught:
        await stream.read()
    assert failure_of(caught.value).info.reason == "TIER_TOO_LOW"


async def _write(stream: Stream, messages: Sequence[pb.StreamVotesRequest], done: bool = True) -> None:
    for each in messages:
        await stream.write(each)
    if done:
        await stream.done_writing()


async def _turned_away(running: Served) -> bool:
    failed = await failure(VoteServiceStub(running.channel).ListVotes(pb.ListVotesRequest()))
    return bool(failed.info.reason == "SERVER_STOPPING")


async def _is(found: object, wanted: object) -> bool:
    return found == wanted
