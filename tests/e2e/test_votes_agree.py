"""Votes by every door at once, shards dying, markets closing under them: in the end every count is the same number."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import signal
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import asyncpg
import grpc
import pytest
from solders.keypair import Keypair

from app.demo.doors import Doors
from app.demo.run import running_system
from app.demo.story import GRID_S
from chain.client import ChainReader
from chain.program import ZmartProgram
from domain.ids import MarketId
from tests.support.eventually import eventually_async
from tests.support.storm import CALL_S, REPEATABLE, Storm, ballots
from tests.support.system import FAST, RunningSystem, create_markets, new_market_id
from zmart.v1 import ops_service_pb2
from zmart.v1.ops_service_pb2_grpc import OpsServiceStub

KILL_EVERY_S = 1.0
UNANIMOUS = 10
"""One market in so many passes its threshold at the first aggregation and is approved under the votes."""

Tallies = dict[MarketId, tuple[int, int]]

OPEN = """
SELECT m.market_id, t.id IS NULL AND m.next_attempt_at > now() AS failed FROM markets AS m
LEFT JOIN chain_transactions AS t ON t.market_id = m.market_id AND (t.applied_at IS NULL OR t.id = m.intent_id)
WHERE t.id IS NOT NULL OR m.voting_closed AND m.state = 'PROPOSED'
    OR (m.likes, m.dislikes) IS DISTINCT FROM (m.confirmed_likes::numeric, m.confirmed_dislikes::numeric)
"""
UNDER_WAY = "SELECT count(*) FROM chain_transactions WHERE applied_at IS NULL"
COUNTED = "SELECT id::text, market_id, user_pubkey, vote, source, tx_signature FROM vote_records"
UNCOUNTED = "SELECT id::text, tx_signature, reason FROM uncounted_votes"
BY_SIGNATURE = """
SELECT tx_signature, id::text FROM vote_records WHERE tx_signature IS NOT NULL
UNION ALL SELECT tx_signature, id::text FROM uncounted_votes WHERE tx_signature IS NOT NULL
"""


@pytest.mark.parametrize(
    ("votes", "markets"),
    [
        pytest.param(2_000, 40, id="small"),
        pytest.param(10_000, 100, id="large", marks=[pytest.mark.long, pytest.mark.timeout(600)]),
    ],
)
async def test_every_count_of_votes_is_the_same_number(tmp_path: Path, votes: int, markets: int) -> None:
    with running_system(tmp_path, FAST) as connection:
        system = RunningSystem(connection, tmp_path)
        ids = [new_market_id() for _ in range(markets)]
        database = await asyncpg.connect(connection["database_url"])
        async with system.doors() as doors, grpc.aio.insecure_channel(connection["grpc_target"]) as channel:
            await create_markets(doors, ids)
            program = ZmartProgram.at(connection["program_id"])
            storm = Storm(doors, channel, program, connection["service_key"])
            await blow(system, storm, database, ids, votes)
            await come_to_rest(system, database, storm)
            await compare(system, doors, database, storm, ids)
        await database.close()


async def blow(
    system: RunningSystem, storm: Storm, database: asyncpg.Connection, ids: Sequence[MarketId], votes: int
) -> None:
    """Cast everything while a shard dies every second and the grid comes twice."""
    voters = [system.token(Keypair()) for _ in range(votes // 2)]
    cast = ballots(voters, ids, ids[::UNANIMOUS], random.Random(3))
    running = asyncio.create_task(storm.run(cast))
    killing = asyncio.create_task(kill_shards(database))
    for share in (3, 2):

        async def reached(count: int = votes // share) -> bool:
            return storm.finished >= count or running.done()

        await eventually_async(reached, timeout_s=200)
        await storm.doors.advance_clock(GRID_S)
    await running
    killing.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await killing
    assert storm.finished == len(cast) == votes


async def kill_shards(database: asyncpg.Connection) -> None:
    """One of them every second, whatever it is doing."""
    chance = random.Random(8)
    while True:
        await asyncio.sleep(KILL_EVERY_S)  # the pace of the kills, which no fact depends on
        rows = await database.fetch("SELECT DISTINCT pid FROM virtual_shards WHERE pid IS NOT NULL")
        if rows:  # else the one before is not replaced yet
            with contextlib.suppress(ProcessLookupError):  # replaced since the look
                os.kill(chance.choice(rows)["pid"], signal.SIGKILL)


async def come_to_rest(system: RunningSystem, database: asyncpg.Connection, storm: Storm) -> None:
    """Until every vote on chain was heard of and every changed tally has been sent and taken in.

    An attempt can fail, for its blockhash lives for 15 s here: the next is due in five minutes, an operator asks now.
    """

    async def heard() -> bool:
        return {row["tx_signature"] for row in await database.fetch(BY_SIGNATURE)} >= storm.landed.keys()

    async def nothing_under_way() -> bool:
        return not await database.fetchval(UNDER_WAY)

    async def at_rest() -> bool:
        waiting = await database.fetch(OPEN)
        await asyncio.gather(*(ask_again(system, storm, row["market_id"]) for row in waiting if row["failed"]))
        return not waiting

    await eventually_async(heard)
    await eventually_async(nothing_under_way)  # a market whose attempt is under way lets the instant go by
    await storm.doors.advance_clock(GRID_S)
    await eventually_async(at_rest)


async def ask_again(system: RunningSystem, storm: Storm, market: MarketId) -> None:
    """The operator's word, which waits for no retry; while nobody takes it, the next look says it again."""
    operator = (("authorization", f"Bearer {system.connection['operator_token']}"),)
    request = ops_service_pb2.AggregateNowRequest(market_id=market)
    try:
        await OpsServiceStub(storm.channel).AggregateNow(request, metadata=operator, timeout=CALL_S)
    except grpc.aio.AioRpcError as error:
        assert error.code() in REPEATABLE, error


async def compare(
    system: RunningSystem, doors: Doors, database: asyncpg.Connection, storm: Storm, ids: Sequence[MarketId]
) -> None:
    """Rows, tallies, API, feed and chain against each other, and the voters' own notes against the rows."""
    counted = await database.fetch(COUNTED)
    check_notes(storm, counted, await database.fetch(UNCOUNTED))
    choices = Counter((row["market_id"], row["vote"]) for row in counted)
    tallies: Tallies = {market: (choices[market, True], choices[market, False]) for market in ids}
    rows = await database.fetch("SELECT market_id, state, likes, dislikes FROM markets")
    assert {row["market_id"]: (row["likes"], row["dislikes"]) for row in rows} == tallies
    assert {market: await told(doors, market) for market in ids} == tallies
    assert await shown(system, doors, ids) == tallies
    async with ChainReader.connect(system.connection["rpc_url"], system.connection["program_id"]) as reader:
        assert {market: await on_chain(reader, market) for market in ids} == tallies
    closed = {row["market_id"] for row in rows if row["state"] == "APPROVED"}
    assert closed >= set(ids[::UNANIMOUS]), "markets closed under the votes"


def check_notes(storm: Storm, counted: Sequence[asyncpg.Record], uncounted: Sequence[asyncpg.Record]) -> None:
    """What anybody was told is there; nobody is counted twice; what the chain shows has replaced what the API took."""
    stored = {row["id"] for row in counted} | {row["id"] for row in uncounted}
    assert storm.acknowledged.keys() <= stored
    places = {(row["market_id"], row["user_pubkey"]): row for row in counted}
    assert len(places) == len(counted)
    assert any(row["reason"] == "superseded" for row in uncounted), "some voted by the API first, on chain afterwards"
    late = {row["tx_signature"] for row in uncounted if row["reason"] == "late"}
    for signature, ballot in storm.landed.items():
        row = places.get((ballot.market, ballot.voter.wallet))
        if signature not in late:
            assert row is not None
            assert (row["source"], row["tx_signature"], row["vote"]) == ("chain", signature, ballot.word == "like")
    told_of = {(ballot.market, ballot.voter.wallet) for ballot in storm.acknowledged.values()}
    assert places.keys() >= told_of
    assert places.keys() <= told_of | {(ballot.market, ballot.voter.wallet) for ballot in storm.landed.values()}
    assert set(storm.refused) <= {"ALREADY_VOTED", "VOTING_CLOSING", "WRONG_STATE", "by the program"}
    assert storm.refused["ALREADY_VOTED"] > 0


async def told(doors: Doors, market: MarketId) -> tuple[int, int]:
    tally = (await doors.tally(market)).proposal
    return tally.likes, tally.dislikes


async def shown(system: RunningSystem, doors: Doors, ids: Sequence[MarketId]) -> Tallies:
    """What a browser that comes now is shown."""
    viewer = system.token(Keypair())

    async def snapshot(market: MarketId) -> tuple[int, int]:
        async with doors.watching(viewer, market) as watch:
            message = await watch.until("SNAPSHOT")
        return message["likes"], message["dislikes"]

    return {market: await snapshot(market) for market in ids}


async def on_chain(reader: ChainReader, market: MarketId) -> tuple[int, int]:
    account = await reader.market(market)
    assert account is not None
    return account.proposal_likes, account.proposal_dislikes
