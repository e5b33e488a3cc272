"""Voters who cast every vote twice, each time by another door, and write down what they are told."""

from __future__ import annotations

import asyncio
import base64
import itertools
import random
import uuid
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import grpc
from google.rpc.error_details_pb2 import ErrorInfo
from solders.hash import Hash
from solders.message import Message
from solders.transaction import Transaction

from app.demo.doors import AIRDROP_LAMPORTS, Doors, RpcFailed, SignedIn, reason
from chain.program import ZmartProgram
from domain.ids import MarketId
from zmart.v1 import vote_service_pb2 as pb
from zmart.v1.vote_service_pb2_grpc import VoteServiceStub

UNARY_AT_ONCE, BULK_AT_ONCE, CHAIN_AT_ONCE = 200, 2, 32
MESSAGE_VOTES = 64
CALL_S = 20.0
REPEATABLE = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED)
REPEATABLE_NUMBERS = tuple(code.value[0] for code in REPEATABLE)


@dataclass(frozen=True, slots=True)
class Ballot:
    """One vote that somebody casts, and the key under which they repeat it."""

    voter: SignedIn
    market: MarketId
    word: str
    door: str
    request_id: str = field(default_factory=lambda: str(uuid.uuid4()))


def ballots(
    voters: Sequence[SignedIn], markets: Sequence[MarketId], unanimous: Sequence[MarketId], chance: random.Random
) -> list[Ballot]:
    """Every voter twice on one market, by any two doors but the chain only once, shuffled; one in ten by the chain."""
    cast = []
    for voter, market in zip(voters, itertools.cycle(markets), strict=False):
        first = "chain" if chance.random() < 0.2 else chance.choice(("unary", "bulk"))
        for door in (first, chance.choice(("unary", "bulk"))):
            word = "like" if market in unanimous else chance.choice(("like", "dislike"))
            cast.append(Ballot(voter, market, word, door))
    chance.shuffle(cast)
    return cast


@dataclass
class Storm:
    """Everything that is cast and told; run the three doors at once."""

    doors: Doors
    channel: grpc.aio.Channel
    program: ZmartProgram
    service_key: str
    acknowledged: dict[str, Ballot] = field(default_factory=dict)
    """By vote_id."""
    landed: dict[str, Ballot] = field(default_factory=dict)
    """Votes on chain by signature."""
    refused: Counter[str] = field(default_factory=Counter)
    finished: int = 0

    async def run(self, cast: Sequence[Ballot]) -> None:
        """Return once every ballot has an answer that is no outage."""
        self._votes = VoteServiceStub(self.channel)
        by_door = {door: [ballot for ballot in cast if ballot.door == door] for door in ("unary", "bulk", "chain")}
        messages = [by_door["bulk"][at : at + MESSAGE_VOTES] for at in range(0, len(by_door["bulk"]), MESSAGE_VOTES)]
        await asyncio.gather(
            _at_once(UNARY_AT_ONCE, by_door["unary"], self._singly),
            _at_once(BULK_AT_ONCE, messages, self._in_bulk),
            _at_once(CHAIN_AT_ONCE, by_door["chain"], self._on_chain),
        )

    async def _singly(self, ballot: Ballot) -> None:
        request = pb.CastProposalVoteRequest(market_id=ballot.market, vote=ballot.word, request_id=ballot.request_id)
        metadata = (("authorization", f"Bearer {ballot.voter.token}"),)
        while True:
            try:
                answer = await self._votes.CastProposalVote(request, metadata=metadata, timeout=CALL_S)
            except grpc.aio.AioRpcError as error:
                if error.code() in REPEATABLE:
                    continue
                return self._note_refused(reason(error))
            return self._note(answer.vote_id, ballot)

    async def _in_bulk(self, message: Sequence[Ballot]) -> None:
        left = list(message)
        while left:
            left = [ballot for ballot, result in await self._told(left) if not self._settled(ballot, result)]

    async def _told(self, left: Sequence[Ballot]) -> list[tuple[Ballot, pb.BulkVoteResult]]:
        votes = [
            pb.BulkVote(user_pubkey=b.voter.wallet, market_id=b.market, vote=b.word, request_id=b.request_id)
            for b in left
        ]
        metadata = (("x-service-key", self.service_key),)
        while True:
            try:
                answer = await self._votes.CastVotes(
                    pb.CastVotesRequest(votes=votes), metadata=metadata, timeout=CALL_S
                )
            except grpc.aio.AioRpcError as error:
                if error.code() not in REPEATABLE:
                    raise
            else:
                return list(zip(left, answer.results, strict=True))

    def _settled(self, ballot: Ballot, result: pb.BulkVoteResult) -> bool:
        if result.success:
            self._note(result.vote_id, ballot)
        elif result.error.code in REPEATABLE_NUMBERS:
            return False
        else:
            info = ErrorInfo()
            assert result.error.details[0].Unpack(info)
            self._note_refused(info.reason)
        return True

    async def _on_chain(self, ballot: Ballot) -> None:
        pair = ballot.voter.pair
        await self.doors.confirmed(await self.doors.rpc("requestAirdrop", str(pair.pubkey()), AIRDROP_LAMPORTS))
        instruction = self.program.submit_proposal_vote(ballot.voter.wallet, ballot.market, ballot.word == "like")
        latest = await self.doors.rpc("getLatestBlockhash", {"commitment": "confirmed"})
        blockhash = Hash.from_string(latest["value"]["blockhash"])
        transaction = Transaction([pair], Message([instruction], pair.pubkey()), blockhash)
        raw = base64.b64encode(bytes(transaction)).decode()
        options = {"encoding": "base64", "preflightCommitment": "confirmed"}
        try:
            signature = await self.doors.confirmed(await self.doors.rpc("sendTransaction", raw, options))
        except RpcFailed:
            self._note_refused("by the program")
        else:
            self.landed[signature] = ballot
            self.finished += 1

    def _note(self, vote_id: str, ballot: Ballot) -> None:
        self.acknowledged[vote_id] = ballot
        self.finished += 1

    def _note_refused(self, why: str) -> None:
        self.refused[why] += 1
        self.finished += 1


async def _at_once(count: int, work: Sequence[Any], do: Any) -> None:
    gate = asyncio.Semaphore(count)

    async def one(each: Any) -> None:
        async with gate:
            await do(each)

    async with asyncio.TaskGroup() as tasks:
        for each in work:
            tasks.create_task(one(each))
