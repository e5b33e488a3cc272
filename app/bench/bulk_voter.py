"""Casts votes as streams of messages of 1,024: the load of `zmart bench bulk`, a process of its own.

Run as `python -m app.bench.bulk_voter FOLDER`, which has the plan. Messages are made before the clock runs, and answers
are read after it stopped. The ids of the acknowledged votes go to `votes.txt`, the figures to standard output.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import sys
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import uvloop

from app.bench.ballots import Plan, Voters, read_plan
from app.bench.harness import Figures
from app.call_stack import in_one_piece
from zmart.v1.vote_service_pb2 import BulkVote, StreamVotesRequest, StreamVotesResponse

METHOD = "/zmart.v1.VoteService/StreamVotes"
MESSAGE_VOTES = 1_024
READY_PER_S = 60
"""Messages made in advance for each second; more are made while the clock runs."""
BYTES_MAX = (("grpc.max_receive_message_length", 4 * 1024 * 1024),)


def messages(voters: Voters, first: int) -> Iterator[bytes]:
    """Requests of 1,024 votes each; the last may be shorter."""
    ballots = itertools.islice(voters.ballots(first), voters.count - first)
    while chosen := list(itertools.islice(ballots, MESSAGE_VOTES)):
        votes = [
            BulkVote(user_pubkey=voters.wallets[wallet], market_id=market, vote=word, request_id=request_id)
            for wallet, market, word, request_id in chosen
        ]
        yield StreamVotesRequest(votes=votes).SerializeToString()


@dataclass
class Load:
    """Some streams over one connection, and what came back when."""

    requests: Iterator[bytes]
    until_s: float = 0.0
    answers: list[tuple[float, bytes]] = field(default_factory=list)

    async def stream(self, channel: grpc.aio.Channel, plan: Plan) -> None:
        """Write without waiting until the time is up; the server reads as fast as it can answer."""
        method: Any = channel.stream_stream(METHOD)  # of bytes, which grpc's types do not know
        call = method(self._written(), metadata=(("x-service-key", plan.service_key),))
        async for answer in call:
            self.answers.append((time.perf_counter(), answer))

    async def _written(self) -> AsyncIterator[bytes]:
        while time.perf_counter() < self.until_s:
            message = next(self.requests, None)
            if message is None:
                return
            yield message


async def cast(plan: Plan, voters: Voters) -> tuple[Figures, list[str]]:
    """Send what the plan says; the figures, and the ids of every vote that was acknowledged."""
    requests = messages(voters, plan.first)
    total_s = plan.warm_s + plan.seconds
    ready = list(itertools.islice(requests, int(READY_PER_S * total_s)))
    load = Load(itertools.chain(ready, requests))
    async with grpc.aio.insecure_channel(f"{plan.host}:{plan.port}", options=BYTES_MAX) as channel:
        await channel.channel_ready()
        began_s, cpu_s = time.perf_counter(), time.process_time()
        load.until_s = began_s + total_s
        await asyncio.gather(*(load.stream(channel, plan) for _ in range(plan.at_once)))
        cpu_s = time.process_time() - cpu_s
    return _figures(plan, load, began_s, cpu_s)


def _figures(plan: Plan, load: Load, began_s: float, cpu_s: float) -> tuple[Figures, list[str]]:
    told = [(at_s, StreamVotesResponse.FromString(answer).results) for at_s, answer in load.answers]
    voted = [result.vote_id for _, results in told for result in results if result.success]
    from_s, to_s = began_s + plan.warm_s, began_s + plan.warm_s + plan.seconds
    measured = sum(result.success for at_s, results in told if from_s <= at_s < to_s for result in results)
    figures = {
        "votes_per_s": round(measured / plan.seconds, 1),
        "acknowledged": len(voted),
        "refused": sum(len(results) for _, results in told) - len(voted),
        "client_cpu_us": round(cpu_s * 1_000_000 / max(len(voted), 1), 1),
    }
    return figures, voted


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as loop:
        figures, voted = in_one_piece(loop.run, cast(*read_plan(folder)))
    (folder / "votes.txt").write_text("\n".join(voted))
    print(json.dumps(figures), flush=True)  # noqa: T201 - how the bench learns the figures
