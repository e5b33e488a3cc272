"""Votes through the whole system, and then somebody who trusts nobody: receipts, proof, export, recount."""

from __future__ import annotations

import asyncio
import sys
import uuid
from asyncio.subprocess import PIPE, STDOUT
from pathlib import Path
from typing import TYPE_CHECKING

import asyncpg
import grpc
from google.protobuf.json_format import MessageToJson
from solders.keypair import Keypair

from app.config import Settings
from app.identities import receipts
from domain.commands import CastVote
from domain.ids import MarketId, Wallet
from domain.merkle import inclusion_path, leaf_hash, root_from_path
from domain.tally import VoteType
from identity import LogPlace, Receipt, Seal
from identity.receipts import holds
from identity.vote_signatures import vote_message
from tests.support.eventually import eventually_async
from tests.support.recount import SCRIPT
from tests.support.system import RunningSystem, create_markets, new_market_id
from zmart.v1 import ops_service_pb2 as ops
from zmart.v1 import vote_service_pb2 as pb
from zmart.v1.ops_service_pb2_grpc import OpsServiceStub
from zmart.v1.vote_service_pb2_grpc import VoteServiceStub

if TYPE_CHECKING:
    from zmart.v1.vote_service_pb2_grpc import VoteServiceAsyncStub

BULK, UNARY = 40, 6
PROGRAM_ID = "6s8bbbCS7oNYNnTUHgrPDHG4jqaSrD6MSxQSPVR1rxw"


def signature_of(pair: Keypair, market_id: MarketId, choice: bool) -> str:
    vote = CastVote(market_id, "", Wallet(str(pair.pubkey())), VoteType.PROPOSAL, choice, 1, None)
    return str(pair.sign_message(vote_message(PROGRAM_ID, vote).encode()))


async def cast_singly(
    system: RunningSystem, stub: VoteServiceAsyncStub, market_id: MarketId
) -> list[pb.CastProposalVoteResponse]:
    """Votes by their own wallets, all at once; every other one signed."""

    async def cast(number: int) -> pb.CastProposalVoteResponse:
        pair = Keypair()
        request = pb.CastProposalVoteRequest(market_id=market_id, vote="like")
        if number % 2:
            request.wallet_signature = signature_of(pair, market_id, choice=True)
        bearer = (("authorization", f"Bearer {system.token(pair).token}"),)
        return await stub.CastProposalVote(request, metadata=bearer)

    return await asyncio.gather(*(cast(number) for number in range(UNARY)))


async def cast_in_bulk(system: RunningSystem, stub: VoteServiceAsyncStub, market_id: MarketId) -> pb.CastVotesResponse:
    pairs = [Keypair() for _ in range(BULK)]
    votes = [pb.BulkVote(user_pubkey=str(pair.pubkey()), market_id=market_id, vote="dislike") for pair in pairs]
    for pair, vote in list(zip(pairs, votes, strict=True))[::2]:
        vote.wallet_signature = signature_of(pair, market_id, choice=False)
    service = (("x-service-key", system.connection["service_key"]),)
    return await stub.CastVotes(pb.CastVotesRequest(votes=votes), metadata=service)


def is_kept(receipt: pb.VoteReceipt, market_id: MarketId, keys: dict[str, bytes]) -> bool:
    place = LogPlace(market_id, VoteType.PROPOSAL, receipt.sequence, bytes.fromhex(receipt.leaf_hash))
    seal = Seal(receipt.batch_size, receipt.key_id, bytes.fromhex(receipt.signature))
    path = tuple(map(bytes.fromhex, receipt.batch_path))
    return holds(Receipt(place.sequence, place.leaf_hash, receipt.batch_index, path, seal), place, keys)


def bulk_is_kept(answer: pb.CastVotesResponse, market_id: MarketId, keys: dict[str, bytes]) -> bool:
    """The message gives all bodies, so it gives every path to the root that is signed."""
    places = [
        LogPlace(market_id, VoteType.PROPOSAL, result.sequence, bytes.fromhex(result.leaf_hash))
        for result in answer.results
    ]
    leaves = [leaf_hash(place.body()) for place in places]
    seal = Seal(answer.receipts.size, answer.receipts.key_id, bytes.fromhex(answer.receipts.signature))
    assert seal.size == len(places) == BULK
    return all(
        holds(Receipt(place.sequence, place.leaf_hash, index, inclusion_path(index, leaves), seal), place, keys)
        for index, place in enumerate(places)
    )


async def aggregated(system: RunningSystem, channel: grpc.aio.Channel, market_id: MarketId, vote_id: str) -> None:
    """Tallies on their way to the chain, so that a root is published."""
    operator = (("authorization", f"Bearer {system.connection['operator_token']}"),)
    await OpsServiceStub(channel).AggregateNow(ops.AggregateNowRequest(market_id=market_id), metadata=operator)

    async def published() -> bool:
        return bool((await proof(channel, market_id, vote_id)).aggregation_id)

    await eventually_async(published, timeout_s=60)


async def proof(channel: grpc.aio.Channel, market_id: MarketId, vote_id: str) -> pb.GetVoteProofResponse:
    request = pb.GetVoteProofRequest(market_id=market_id, vote_id=vote_id)
    return await VoteServiceStub(channel).GetVoteProof(request)


async def run(*arguments: str | Path) -> tuple[int | None, str]:
    """A command as an outsider runs it: its exit status and what it said."""
    process = await asyncio.create_subprocess_exec(sys.executable, *map(str, arguments), stdout=PIPE, stderr=STDOUT)
    told, _ = await process.communicate()
    return process.returncode, told.decode()


async def test_whoever_trusts_nobody_can_recount_every_vote(system: RunningSystem, tmp_path: Path) -> None:
    market_id, keys = new_market_id(), dict(receipts(Settings(data_dir=system.data_dir)).public_keys)
    async with system.doors() as doors:
        await create_markets(doors, [market_id])
    async with grpc.aio.insecure_channel(system.connection["grpc_target"]) as channel:
        stub = VoteServiceStub(channel)
        answers = await cast_singly(system, stub, market_id)
        bulk = await cast_in_bulk(system, stub, market_id)
        assert all(is_kept(answer.receipt, market_id, keys) for answer in answers)
        assert bulk_is_kept(bulk, market_id, keys)
        await aggregated(system, channel, market_id, answers[0].vote_id)
        proven = await proof(channel, market_id, answers[0].vote_id)
    path = [bytes.fromhex(step) for step in proven.path]
    root = root_from_path(bytes.fromhex(proven.leaf_hash), proven.sequence - 1, proven.tree_size, path)
    assert root is not None
    assert root.hex() == proven.root
    database = await asyncpg.connect(system.connection["database_url"])
    try:
        query = "SELECT votes_root FROM aggregation_results WHERE intent_id = $1"
        assert await database.fetchval(query, uuid.UUID(proven.aggregation_id)) == proven.root
        await recounts(system, market_id, tmp_path, answers[0], proven)
        await finds_a_changed_row(system, database, market_id, tmp_path, answers[1].vote_id)
    finally:
        await database.close()


async def exported(system: RunningSystem, market_id: MarketId, file: Path) -> None:
    target = ("--target", system.connection["grpc_target"])
    status, told = await run("-m", "app", "votes", "export", market_id, "--output", file, *target)
    assert status == 0, told


async def recounts(
    system: RunningSystem,
    market_id: MarketId,
    folder: Path,
    answer: pb.CastProposalVoteResponse,
    proven: pb.GetVoteProofResponse,
) -> None:
    await exported(system, market_id, folder / "votes.jsonl")
    (folder / "receipt.json").write_text(MessageToJson(answer.receipt))
    (folder / "proof.json").write_text(MessageToJson(proven))
    own = ("--receipt", folder / "receipt.json", "--proof", folder / "proof.json")
    status, told = await run("-I", SCRIPT, folder / "votes.jsonl", *own)
    assert (status, told.splitlines()[-1]) == (0, "all of it holds"), told
    assert f"proposal{BULK + UNARY:>21} votes, {UNARY} like, {BULK} dislike" in told
    assert f"wallet signatures{BULK // 2 + UNARY // 2:>12} checked" in told


async def finds_a_changed_row(
    system: RunningSystem, database: asyncpg.Connection, market_id: MarketId, folder: Path, vote_id: str
) -> None:
    """The operator's own hand in the database turns one vote around, and back, for others use this system too."""
    turn = "UPDATE vote_records SET vote = NOT vote WHERE id = $1"
    await database.execute(turn, uuid.UUID(vote_id))
    try:
        await exported(system, market_id, folder / "altered.jsonl")
    finally:
        await database.execute(turn, uuid.UUID(vote_id))
    status, told = await run("-I", SCRIPT, folder / "altered.jsonl")
    assert status == 1, told
    assert "the root of these votes is" in told
    assert f"these votes are {UNARY - 1} for and {BULK + 1} against" in told
    assert "the server did not vouch for this vote" in told
