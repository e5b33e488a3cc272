"""`zmart bench failover`: how long the markets of a shard do not answer after it was killed.

Ours: a shard of a running system is killed, and from that moment a vote is cast on some of its markets, repeated
with its request_id until it is acknowledged; every one of them is then looked up. Markets of other shards are voted on
meanwhile. The baseline is the least that any replacement must do: a new Python process that connects to the database
and gets one answer.
"""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Sequence
from typing import Any

import asyncpg
import grpc

from app.bench.harness import Figures, Report, Shape, in_turns, percentiles
from app.bench.stage import Stage, VotesMissing, running_stage
from domain.ids import MarketId, virtual_shard
from zmart.v1.vote_service_pb2 import CastProposalVoteRequest
from zmart.v1.vote_service_pb2_grpc import VoteServiceStub

SHAPE = Shape(rounds=5, connections=32, markets=(1_000,), wallets=100)
ANSWERED_S_MAX = 30.0
REPEATABLE = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.UNKNOWN)
OWNED = "SELECT id::int AS id, pid FROM virtual_shards"
STORED = "SELECT count(*) FROM vote_records WHERE id = ANY ($1::uuid[])"
BARE = """
import asyncio, asyncpg, sys
async def main():
    database = await asyncpg.connect(sys.argv[1])
    print(await database.fetchval("SELECT 1"), flush=True)
asyncio.run(main())
"""


def measure(shape: Shape) -> Report:
    """Compared is `all_answer_ms`: from the kill to the last of the markets that answers."""
    (markets,) = shape.markets
    with running_stage(markets, shape.wallets, signed_in=True) as stage:
        return compare(stage, shape)


def compare(stage: Stage, shape: Shape) -> Report:
    """Both, in turns; each round votes as another wallet."""
    wallets = iter(range(shape.wallets))
    url = stage.connection["database_url"]
    return in_turns(
        "failover",
        "all_answer_ms",
        shape.rounds,
        lambda: asyncio.run(_failover(stage, next(wallets), shape.connections)),
        lambda: _bare(url),
    )


async def _failover(stage: Stage, wallet: int, at_once: int) -> Figures:
    database = await asyncpg.connect(stage.connection["database_url"])
    owners = {row["id"]: row["pid"] for row in await database.fetch(OWNED)}
    killed = min(set(owners.values()))
    markets = [MarketId(market) for market in stage.voters.markets]
    lost = [market for market in markets if owners[virtual_shard(market)] == killed][:at_once]
    others = [market for market in markets if owners[virtual_shard(market)] != killed][:at_once]
    async with grpc.aio.insecure_channel(stage.connection["grpc_target"]) as channel:
        await channel.channel_ready()
        stub, token = VoteServiceStub(channel), stage.voters.tokens[wallet]
        os.kill(killed, signal.SIGKILL)
        votes, spared = await asyncio.gather(_voted(stub, token, lost), _voted(stub, token, others))
    ids = [vote_id for vote_id, _ in [*votes, *spared]]
    found = await database.fetchval(STORED, ids)
    await database.close()
    if found != len(set(ids)):
        raise VotesMissing(f"{len(ids)} votes were acknowledged, {found} are there")
    return _figures([took_s for _, took_s in votes], [took_s for _, took_s in spared])


def _figures(lost_s: Sequence[float], others_s: Sequence[float]) -> Figures:
    return {
        "markets": len(lost_s),
        "first_answer_ms": round(min(lost_s) * 1_000, 1),
        **{f"answer_{name}": value for name, value in percentiles(list(lost_s)).items()},
        "all_answer_ms": round(max(lost_s) * 1_000, 1),
        "others_max_ms": round(max(others_s) * 1_000, 1) if others_s else None,
    }


async def _voted(stub: Any, token: str, markets: Sequence[MarketId]) -> list[tuple[str, float]]:
    """The id of each vote, and seconds from now until it was acknowledged."""
    began_s, bearer = time.perf_counter(), (("authorization", f"Bearer {token}"),)

    async def one(market: MarketId) -> tuple[str, float]:
        request = CastProposalVoteRequest(market_id=market, vote="dislike", request_id=str(uuid.uuid4()))
        while True:
            try:
                answer = await stub.CastProposalVote(request, metadata=bearer, timeout=5)
            except grpc.aio.AioRpcError as error:
                if error.code() not in REPEATABLE:
                    raise
            else:
                return answer.vote_id, time.perf_counter() - began_s

    async with asyncio.timeout(ANSWERED_S_MAX):
        return list(await asyncio.gather(*map(one, markets)))


def _bare(database_url: str) -> Figures:
    """From the start of a process to its first answer of the database."""
    began_s = time.perf_counter()
    subprocess.run([sys.executable, "-c", BARE, database_url], stdout=subprocess.DEVNULL, check=True)
    return {"all_answer_ms": round((time.perf_counter() - began_s) * 1_000, 1)}
