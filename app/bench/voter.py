"""Casts proposal votes one by one, many at once: the load of `zmart bench votes`, a process of its own.

Run as `python -m app.bench.voter FOLDER`, which has the plan. The ids of the acknowledged votes go to `votes.txt`
there, the figures to standard output.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from app.bench.ballots import Plan, Voters, read_plan
from app.bench.frames import Answers, Caller
from app.bench.harness import Figures, percentiles
from app.call_stack import in_one_piece
from zmart.v1.vote_service_pb2 import CastProposalVoteRequest, CastProposalVoteResponse

METHOD = "/zmart.v1.VoteService/CastProposalVote"


def requests(voters: Voters, first: int) -> Iterator[tuple[bytes, bytes]]:
    """Tokens and messages."""
    tokens = [token.encode() for token in voters.tokens]
    for wallet, market, word, request_id in voters.ballots(first):
        request = CastProposalVoteRequest(market_id=market, vote=word, request_id=request_id)
        yield tokens[wallet], request.SerializeToString()


def cast(plan: Plan, voters: Voters) -> tuple[Figures, list[str]]:
    """Send what the plan says; the figures, and the ids of every vote that was acknowledged."""
    caller = Caller(plan.host, plan.port, METHOD)
    cpu_s, began_s = time.process_time(), time.perf_counter()
    try:
        caller.call_for(requests(voters, plan.first), plan.at_once, plan.warm_s + plan.seconds)
    finally:
        caller.close()
    cpu_s = time.process_time() - cpu_s
    votes = [CastProposalVoteResponse.FromString(message).vote_id for message in caller.answers.messages]
    return {**_figures(plan, caller.answers, began_s), "client_cpu_us": _each_us(cpu_s, len(votes))}, votes


def _figures(plan: Plan, answers: Answers, began_s: float) -> Figures:
    from_s, to_s = began_s + plan.warm_s, began_s + plan.warm_s + plan.seconds
    measured = [
        took_s for took_s, at_s in zip(answers.latencies_s, answers.finished_s, strict=True) if from_s <= at_s < to_s
    ]
    return {
        "votes_per_s": round(len(measured) / plan.seconds, 1),
        **percentiles(measured or answers.latencies_s),
        "acknowledged": len(answers.messages),
        "refused": answers.refused,
    }


def _each_us(seconds: float, count: int) -> float:
    return round(seconds * 1_000_000 / max(count, 1), 1)


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    figures, voted = in_one_piece(cast, *read_plan(folder))
    (folder / "votes.txt").write_text("\n".join(voted))
    print(json.dumps(figures), flush=True)  # noqa: T201 - how the bench learns the figures
