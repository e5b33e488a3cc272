"""Votes in bulk through the whole system: every one is answered, stored once and counted, by whichever door it came."""

from __future__ import annotations

import asyncio
import random
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING

import asyncpg
import grpc
from google.rpc.error_details_pb2 import ErrorInfo
from solders.keypair import Keypair

from domain.ids import MarketId
from tests.support.system import RunningSystem, create_markets, new_market_id
from zmart.v1 import vote_service_pb2 as pb
from zmart.v1.vote_service_pb2_grpc import VoteServiceStub

if TYPE_CHECKING:
    from zmart.v1.vote_service_pb2_grpc import VoteServiceAsyncStub

MARKETS, WALLETS = 8, 250
MESSAGE_VOTES = 256
CALL_S = 60.0
OUTAGES = tuple(code.value[0] for code in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED))
"""What a client repeats: a vote that took longer than the 5 s of a command may have been counted."""

Answers = list[tuple[pb.BulkVote, pb.BulkVoteResult]]
Cast = Callable[[Sequence[pb.BulkVote]], Awaitable[Answers]]


def ballots(markets: Sequence[MarketId]) -> list[pb.BulkVote]:
    """Every wallet twice on every market, shuffled: half of all votes are second ones."""
    wallets = [str(Keypair().pubkey()) for _ in range(WALLETS)]
    twice = [(wallet, market) for wallet in wallets for market in markets] * 2
    chance = random.Random(4)
    chance.shuffle(twice)
    return [
        pb.BulkVote(
            user_pubkey=wallet, market_id=market, vote=chance.choice(["like", "dislike"]), request_id=str(uuid.uuid4())
        )
        for wallet, market in twice
    ]


def messages(votes: Sequence[pb.BulkVote]) -> list[Sequence[pb.BulkVote]]:
    return [votes[start : start + MESSAGE_VOTES] for start in range(0, len(votes), MESSAGE_VOTES)]


async def by_calls(
    stub: VoteServiceAsyncStub, metadata: tuple[tuple[str, str], ...], votes: Sequence[pb.BulkVote]
) -> Answers:
    """Four calls at once, so more than one message is cast at a time."""
    gate, answers = asyncio.Semaphore(4), Answers()

    async def call(message: Sequence[pb.BulkVote]) -> None:
        async with gate:
            answer = await stub.CastVotes(pb.CastVotesRequest(votes=message), metadata=metadata, timeout=CALL_S)
        answers.extend(zip(message, answer.results, strict=True))

    await asyncio.gather(*(call(message) for message in messages(votes)))
    return answers


async def by_stream(
    stub: VoteServiceAsyncStub, metadata: tuple[tuple[str, str], ...], votes: Sequence[pb.BulkVote]
) -> Answers:
    """One stream that is written without waiting; its answers come in the order of the messages."""
    sent = messages(votes)

    async def requests() -> AsyncIterator[pb.StreamVotesRequest]:
        for message in sent:
            yield pb.StreamVotesRequest(votes=message)

    stream = stub.StreamVotes(requests(), metadata=metadata, timeout=CALL_S)
    answered = [answer.results async for answer in stream]
    return [
        pair for message, results in zip(sent, answered, strict=True) for pair in zip(message, results, strict=True)
    ]


async def to_the_end(cast: Cast, votes: Sequence[pb.BulkVote]) -> Answers:
    """Each vote with its answer: repeated with the same request_id until that is no outage."""
    answers, left = Answers(), votes
    while left:
        told = await cast(left)
        answers += [(vote, result) for vote, result in told if result.error.code not in OUTAGES]
        left = [vote for vote, result in told if result.error.code in OUTAGES]
    return answers


def reason(result: pb.BulkVoteResult) -> str:
    info = ErrorInfo()
    assert result.error.details[0].Unpack(info)
    return str(info.reason)


async def listed(stub: VoteServiceAsyncStub, market: MarketId) -> list[pb.Vote]:
    """All votes of a market, page by page."""
    votes, token = list[pb.Vote](), ""
    while token or not votes:
        page = await stub.ListVotes(pb.ListVotesRequest(market_id=market, page_size=100, page_token=token))
        votes += page.votes
        token = page.next_page_token
    return votes


async def test_calls_and_streams_at_once_store_every_vote_once(system: RunningSystem) -> None:
    markets = [new_market_id() for _ in range(MARKETS)]
    async with system.doors() as doors:
        await create_markets(doors, markets)
    metadata = (("x-service-key", system.connection["service_key"]),)
    votes = ballots(markets)
    half = len(votes) // 2
    async with grpc.aio.insecure_channel(system.connection["grpc_target"]) as channel:
        stub = VoteServiceStub(channel)
        calls, stream = partial(by_calls, stub, metadata), partial(by_stream, stub, metadata)
        told = await asyncio.gather(to_the_end(calls, votes[:half]), to_the_end(stream, votes[half:]))
        answers = [pair for answers in told for pair in answers]
        again = await to_the_end(calls, [vote for vote, result in answers if result.success][:MESSAGE_VOTES])
        shown = {market: await listed(stub, market) for market in markets}
        tallies = {market: await stub.GetTally(pb.GetTallyRequest(market_id=market)) for market in markets}
    assert Counter(reason(result) for _, result in answers if not result.success) == {"ALREADY_VOTED": half}
    taken = {result.vote_id: vote for vote, result in answers if result.success}
    first = {vote.request_id: result.vote_id for vote, result in answers if result.success}
    assert all(result.vote_id == first[vote.request_id] for vote, result in again), "a repeat is the first vote"
    for market in markets:
        mine = {vote_id: vote for vote_id, vote in taken.items() if vote.market_id == market}
        assert {vote.vote_id: (vote.user_pubkey, vote.vote) for vote in shown[market]} == {
            vote_id: (vote.user_pubkey, vote.vote) for vote_id, vote in mine.items()
        }
        words = Counter(vote.vote for vote in mine.values())
        proposal = tallies[market].proposal
        assert (proposal.likes, proposal.dislikes) == (words["like"], words["dislike"])
    await compare(system, taken)


async def compare(system: RunningSystem, taken: dict[str, pb.BulkVote]) -> None:
    """What was acknowledged against the table itself."""
    markets = list({vote.market_id for vote in taken.values()})
    database = await asyncpg.connect(system.connection["database_url"])
    rows = await database.fetch(
        "SELECT id::text, market_id, user_pubkey, vote FROM vote_records WHERE market_id = ANY ($1)", markets
    )
    await database.close()
    assert {(row["id"], row["market_id"], row["user_pubkey"], row["vote"]) for row in rows} == {
        (vote_id, vote.market_id, vote.user_pubkey, vote.vote == "like") for vote_id, vote in taken.items()
    }
    assert len(rows) == MARKETS * WALLETS
