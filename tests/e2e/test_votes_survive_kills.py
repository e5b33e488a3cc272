"""A vote that was acknowledged is never lost and never counted twice, whatever dies on its way."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import random
import signal
import uuid
from collections import Counter
from dataclasses import dataclass, field

import asyncpg
import grpc
from solders.keypair import Keypair

from app.demo.doors import SignedIn, reason
from domain.ids import MarketId, virtual_shard
from domain.merkle import Frontier
from domain.tally import VoteType
from domain.votelog import leaf_of
from storage.database import database_pool
from storage.reads import MarketReads
from storage.vote_log import VoteLog
from tests.support.eventually import eventually_async
from tests.support.system import RunningSystem, create_markets, new_market_id
from zmart.v1 import vote_service_pb2, vote_service_pb2_grpc

MARKETS, WALLETS = 10, 2_000
IN_FLIGHT = 400
KILLS_IN_TRANSACTION = 5
KILLS_ANYWHERE = 3
CALL_S = 20.0
ADVISORY_CLASS = 77
REPEATABLE = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED)

SHARD_SESSIONS = """
SELECT v.pid, bool_or(a.wait_event_type = 'Lock') AS waits
FROM virtual_shards v
JOIN pg_locks l ON l.locktype = 'advisory' AND l.classid = $1 AND l.objid = v.id AND l.granted
JOIN pg_stat_activity a ON a.pid = l.pid
WHERE l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
GROUP BY v.pid
"""


@dataclass
class Storm:
    """Every wallet votes on every market once; what was acknowledged is written down as it arrives."""

    votes: vote_service_pb2_grpc.VoteServiceAsyncStub
    acknowledged: dict[tuple[MarketId, str], str] = field(default_factory=dict)
    places: dict[tuple[MarketId, int], tuple[str, str]] = field(default_factory=dict)
    """(market, sequence) -> (vote_id, leaf hash), as the receipts say."""
    repeated: int = 0
    refusals: Counter[str] = field(default_factory=Counter)

    async def run(self, markets: list[MarketId], wallets: list[SignedIn]) -> None:
        """Half likes and half dislikes, so that no tally ever passes and voting stays open."""
        gate = asyncio.Semaphore(IN_FLIGHT)
        ballots = [(market, wallet) for wallet in wallets for market in markets]
        random.Random(2).shuffle(ballots)
        words = itertools.cycle(("like", "dislike"))
        async with asyncio.TaskGroup() as tasks:
            for market, wallet in ballots:
                await gate.acquire()
                task = tasks.create_task(self._cast(market, wallet, next(words)))
                task.add_done_callback(lambda _: gate.release())

    async def reach(self, count: int) -> None:
        """Wait until so many votes are acknowledged."""

        async def reached() -> bool:
            return len(self.acknowledged) >= count

        await eventually_async(reached, timeout_s=90)

    async def _cast(self, market: MarketId, wallet: SignedIn, word: str) -> None:
        request = vote_service_pb2.CastProposalVoteRequest(market_id=market, vote=word, request_id=str(uuid.uuid4()))
        metadata = (("authorization", f"Bearer {wallet.token}"),)
        while True:
            try:
                answer = await self.votes.CastProposalVote(request, metadata=metadata, timeout=CALL_S)
            except grpc.aio.AioRpcError as error:
                if error.code() not in REPEATABLE:
                    self.refusals[reason(error)] += 1
                    return
                self.repeated += 1
            else:
                self.acknowledged[market, wallet.wallet] = answer.vote_id
                self.places[market, answer.receipt.sequence] = (answer.vote_id, answer.receipt.leaf_hash)
                return


def spread_markets() -> list[MarketId]:
    """Markets of which two shards own the same number: virtual shards are dealt in turn."""
    even: list[MarketId] = []
    odd: list[MarketId] = []
    while min(len(even), len(odd)) < MARKETS // 2:
        market_id = new_market_id()
        (odd if virtual_shard(market_id) % 2 else even).append(market_id)
    return even[: MARKETS // 2] + odd[: MARKETS // 2]


async def kill_in_transaction(database: asyncpg.Connection) -> None:
    """Kill a shard whose batch is written in part: it waits for a row that this session holds meanwhile."""

    async def caught() -> bool:
        await database.execute("SELECT pg_stat_clear_snapshot()")  # else one transaction sees one moment for ever
        for row in await database.fetch(SHARD_SESSIONS, ADVISORY_CLASS):
            if row["waits"]:
                with contextlib.suppress(ProcessLookupError):  # replaced since the look
                    os.kill(row["pid"], signal.SIGKILL)
                    return True
        return False

    async with database.transaction():
        await database.execute("SELECT FROM markets FOR UPDATE")
        await eventually_async(caught, timeout_s=60)


async def kill_anywhere(database: asyncpg.Connection, chance: random.Random) -> None:
    """Kill whichever shard, whatever it is doing."""

    async def killed() -> bool:
        rows = await database.fetch(SHARD_SESSIONS, ADVISORY_CLASS)
        if not rows:
            return False
        try:
            os.kill(chance.choice(rows)["pid"], signal.SIGKILL)
        except ProcessLookupError:
            return False  # replaced since the look
        return True

    await eventually_async(killed)


async def test_twenty_thousand_votes_under_kills_are_all_there_and_all_once(own_system: RunningSystem) -> None:
    markets = spread_markets()
    async with own_system.doors() as doors:
        await create_markets(doors, markets)
    wallets = [own_system.token(Keypair()) for _ in range(WALLETS)]
    database = await asyncpg.connect(own_system.connection["database_url"])
    chance = random.Random(5)
    async with grpc.aio.insecure_channel(own_system.connection["grpc_target"]) as channel:
        storm = Storm(vote_service_pb2_grpc.VoteServiceStub(channel))
        running = asyncio.create_task(storm.run(markets, wallets))
        kills = 0
        total = MARKETS * WALLETS
        for turn in range(1, KILLS_IN_TRANSACTION + KILLS_ANYWHERE + 1):
            share = turn * total // (KILLS_IN_TRANSACTION + KILLS_ANYWHERE + 2)
            await storm.reach(share)
            assert not running.done(), "the kills are spread over the votes"
            if turn <= KILLS_IN_TRANSACTION:
                await kill_in_transaction(database)
            else:
                await kill_anywhere(database, chance)
            kills += 1
        await running
    assert kills == KILLS_IN_TRANSACTION + KILLS_ANYWHERE
    assert storm.refusals == Counter(), "every vote is new and its market is open"
    await compare(database, storm, total)
    await database.close()
    await compare_logs(own_system.connection["database_url"], storm, markets)


async def compare(database: asyncpg.Connection, storm: Storm, total: int) -> None:
    """The client's log against the tables: none lost, none twice, tallies exact, the feed without a gap."""
    rows = await database.fetch("SELECT id::text, market_id, user_pubkey, vote FROM vote_records")
    stored = {(row["market_id"], row["user_pubkey"]): row["id"] for row in rows}
    assert len(rows) == len(stored) == total
    assert stored == storm.acknowledged
    counted = Counter((row["market_id"], row["vote"]) for row in rows)
    for market in await database.fetch("SELECT market_id, likes, dislikes FROM markets"):
        name = market["market_id"]
        assert (market["likes"], market["dislikes"]) == (counted[name, True], counted[name, False])
    gaps = await database.fetch(
        """
        SELECT channel FROM (
            SELECT channel, seq FROM feed_outbox
            UNION ALL SELECT 'votes of ' || channel, votes_seq FROM feed_outbox WHERE votes_seq IS NOT NULL
        ) AS told (channel, seq)
        GROUP BY channel HAVING count(DISTINCT seq) <> max(seq) OR count(*) <> count(DISTINCT seq) OR min(seq) <> 1
        """
    )
    assert gaps == []


async def compare_logs(database_url: str, storm: Storm, markets: list[MarketId]) -> None:
    """Every receipt names its own place in a log, and the stored frontier is that of the rows as they are now."""
    database = await database_pool(database_url, size=1)
    for market in markets:
        entries = await VoteLog(database).entries(market, VoteType.PROPOSAL)
        leaves = [leaf_of(each.entry) for each in entries]
        told = [storm.places[market, sequence] for sequence in range(1, len(entries) + 1)]
        assert told == [(each.entry.vote_id, leaf.hex()) for each, leaf in zip(entries, leaves, strict=True)]
        found = await MarketReads(database).get(market)
        assert found and found[0].proposal_log == Frontier().plus_all(leaves)
    await database.close()
    assert len(storm.places) == len(storm.acknowledged)
