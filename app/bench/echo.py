"""The least that a server of these messages must do: parse one, answer one.

A program of its own, the baseline of `zmart bench votes`: grpc.aio on the same event loop, with the same options, the
same room for frames and the same messages as the product's server, and nothing behind it. Run as `python -m
app.bench.echo`; the first line it prints is its port.
"""

from __future__ import annotations

import asyncio
from typing import Any

import grpc
import uvloop
from grpc.aio import ServicerContext

from app.call_stack import in_one_piece
from app.embedded.loopback import LOOPBACK
from grpc_server.server import OPTIONS
from zmart.v1.vote_service_pb2 import (
    CastProposalVoteRequest,
    CastProposalVoteResponse,
    ProposalVoteCount,
    VoteReceipt,
)
from zmart.v1.vote_service_pb2_grpc import VoteServiceServicer, add_VoteServiceServicer_to_server

VOTE_ID = "00000000-0000-4000-8000-000000000000"
HASH, KEY_ID = "0" * 64, "0" * 16
TOGETHER = 64
"""Votes in flight, whose receipts share a signature: each has a path of six hashes."""


class Echo(VoteServiceServicer):
    """Answers every vote with one that looks like a stored one."""

    async def CastProposalVote(  # noqa: N802 - the contract's name
        self,
        request: CastProposalVoteRequest,  # noqa: ARG002 - parsed, and no more
        context: ServicerContext[Any, Any],  # noqa: ARG002 - grpc hands one to every method
    ) -> CastProposalVoteResponse:
        """A fresh answer of the size that a real one has."""
        return CastProposalVoteResponse(
            success=True,
            vote_id=VOTE_ID,
            vote_count=ProposalVoteCount(likes=1_000, dislikes=1_000),
            receipt=VoteReceipt(
                sequence=1_000,
                leaf_hash=HASH,
                batch_index=1,
                batch_size=TOGETHER,
                batch_path=[HASH] * 6,
                key_id=KEY_ID,
                signature=HASH * 2,
            ),
        )


async def _serve() -> None:
    server = grpc.aio.server(options=OPTIONS)
    add_VoteServiceServicer_to_server(Echo(), server)
    port = server.add_insecure_port(f"{LOOPBACK}:0")
    await server.start()
    print(port, flush=True)  # noqa: T201 - how the bench learns the port
    await server.wait_for_termination()


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as loop:
        in_one_piece(loop.run, _serve())
