"""A disputed market on the ledger: votes weigh what its traders hold there, and nobody else votes."""

from __future__ import annotations

import uuid

import asyncpg
import grpc
from solders.keypair import Keypair

from chain.client import ChainReader
from domain.ids import MarketId
from tests.support.disputes import SPENT, Booth, Dispute
from tests.support.eventually import eventually_async
from tests.support.system import RunningSystem
from zmart.v1 import vote_service_pb2 as pb


async def test_votes_on_a_dispute_weigh_what_the_ledger_shows(system: RunningSystem) -> None:
    reader = ChainReader.connect(system.connection["rpc_url"], system.connection["program_id"])
    async with system.doors() as doors, reader, grpc.aio.insecure_channel(system.connection["grpc_target"]) as channel:
        dispute = Dispute(system, doors, reader)
        booth = Booth(system, channel, dispute.market_id)
        large, small = dispute.traders["large"], dispute.traders["small"]
        await dispute.begin()
        await dispute.trade()
        assert await booth.refused(large, "support") == "WRONG_STATE", "taken in while it is traded"
        await dispute.dispute()

        async def disputed() -> bool:
            """The state is looked up again within a few seconds."""
            return await booth.refused(Keypair(), "support") == "NO_POSITION"

        await eventually_async(disputed, timeout_s=60)
        request_id = str(uuid.uuid4())
        first = await booth.cast(small, "reject", request_id=request_id)
        second = await booth.cast(large, "support")
        weights = {name: str(await dispute.shares(name)) for name in SPENT}
        assert (first.weight, second.weight) == (weights["small"], weights["large"])
        assert int(weights["large"]) > int(weights["small"]) > 0
        assert (second.vote_count.support, second.vote_count.reject) == (weights["large"], weights["small"])
        assert await booth.refused(Keypair(), "support") == "NO_POSITION"
        assert await booth.refused(dispute.creator, "reject") == "NO_POSITION"
        assert await booth.refused(large, "reject") == "ALREADY_VOTED"
        assert await booth.cast(small, "reject", request_id=request_id) == first
        tally = (await doors.tally(dispute.market_id)).dispute
        assert (tally.support, tally.reject) == (weights["large"], weights["small"])
        assert (tally.support_voters, tally.reject_voters, tally.threshold_met) == (1, 1, tally.percentage_bps >= 6000)
        page = await booth.stub.ListVotes(pb.ListVotesRequest(market_id=dispute.market_id, vote_type="dispute"))
    listed = {vote.user_pubkey: (vote.vote, vote.weight, vote.weight_slot) for vote in page.votes}
    assert listed == {
        str(large.pubkey()): ("support", weights["large"], second.weight_slot),
        str(small.pubkey()): ("reject", weights["small"], first.weight_slot),
    }
    await compare(system, dispute.market_id, listed)


async def compare(system: RunningSystem, market_id: MarketId, listed: dict[str, tuple[str, str, int]]) -> None:
    """The rows themselves: weights as the API gave them, each with the slot it was read at."""
    database = await asyncpg.connect(system.connection["database_url"])
    rows = await database.fetch(
        "SELECT user_pubkey, vote, weight::text, weight_slot FROM vote_records WHERE market_id = $1", market_id
    )
    await database.close()
    stored = {row["user_pubkey"]: (row["vote"], row["weight"], row["weight_slot"]) for row in rows}
    assert stored == {voter: (word == "support", weight, slot) for voter, (word, weight, slot) in listed.items()}
    assert all(slot > 0 for _, _, slot in stored.values())
