"""PostgreSQL's own batched rate for votes: the same rows into the same table, and nothing else.

A program of its own, the baseline of `zmart bench bulk`: batches of 1,024 by the statement and the session settings
that a shard uses, each a durable transaction, over as many connections as there are shards, into a database of its own
on the same server. No market is counted, nobody is told, and every row was made before the clock runs. Run as
`python -m app.bench.batches FOLDER`, which has the plan.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import uuid_utils
import uvloop

from app.bench.ballots import Plan, Voters, read_plan
from app.bench.bulk_voter import MESSAGE_VOTES
from app.bench.harness import Figures
from app.call_stack import in_one_piece
from app.clock import wall_s
from domain.commands import CastVote
from domain.ids import MarketId, Wallet
from domain.journal import Ballot
from domain.tally import VoteType
from storage import codec, vote_rows
from storage.queries import sql
from storage.session import connect_shard

READY_PER_S = 120
"""Batches made in advance for each second; a run that would need more ends early, and is measured until then."""


def batches(voters: Voters, first: int) -> Iterator[list[str]]:
    """The arguments of one statement each."""
    ballots = itertools.islice(voters.ballots(first), voters.count - first)
    while chosen := list(itertools.islice(ballots, MESSAGE_VOTES)):
        yield codec.columns([vote_rows.ballot_row(_ballot(voters, *each)) for each in chosen])


def _ballot(voters: Voters, wallet: int, market: str, word: str, request_id: str) -> Ballot:
    vote = CastVote(
        market_id=MarketId(market),
        vote_id=str(uuid_utils.uuid7()),
        wallet=Wallet(voters.wallets[wallet]),
        vote_type=VoteType.PROPOSAL,
        choice=word == "like",
        weight=1,
        request_id=request_id,
    )
    return Ballot(vote, 1, accepted_at_ms=int(wall_s() * 1_000))


async def insert(plan: Plan, voters: Voters) -> Figures:
    """Write what the plan says; compared is what was committed in the measured time."""
    ready = itertools.islice(batches(voters, plan.first), int(READY_PER_S * (plan.warm_s + plan.seconds)))
    waiting = iter(list(ready))
    sessions = [await connect_shard(plan.database_url) for _ in range(plan.at_once)]
    committed: list[tuple[float, int]] = []
    began_s = time.perf_counter()
    until_s = began_s + plan.warm_s + plan.seconds

    async def write(session: asyncpg.Connection) -> None:
        while time.perf_counter() < until_s and (batch := next(waiting, None)) is not None:
            rows = await session.fetch(sql("insert_ballots"), *batch)
            committed.append((time.perf_counter(), len(rows)))

    await asyncio.gather(*(write(session) for session in sessions))
    await asyncio.gather(*(session.close() for session in sessions))
    from_s, to_s = began_s + plan.warm_s, min(until_s, committed[-1][0])
    measured = sum(rows for at_s, rows in committed if from_s <= at_s < to_s)
    return {
        "votes_per_s": round(measured / (to_s - from_s), 1),
        "acknowledged": sum(rows for _, rows in committed),
        "refused": 0,
    }


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as loop:
        figures = in_one_piece(loop.run, insert(*read_plan(Path(sys.argv[1]))))
    print(json.dumps(figures), flush=True)  # noqa: T201 - the figures
