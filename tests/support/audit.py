"""Votes of people and what they can check of them, on a server of a test."""

from __future__ import annotations

import json
import uuid
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from domain.commands import CastVote, RecordChainVote
from domain.ids import MarketId
from domain.tally import VoteType
from identity import LogPlace, Receipt, Seal
from identity.receipts import holds
from identity.vote_signatures import vote_message
from tests.support.grpc_parts import (
    PROGRAM_ID,
    SERVICE_KEY,
    SIGNER,
    START_S,
    Person,
    Served,
    market_id_of,
)
from zmart.v1 import vote_service_pb2 as pb
from zmart.v1.vote_service_pb2_grpc import VoteServiceStub

MARKET, DISPUTED = market_id_of(1), market_id_of(2)
SIGNER_KEY = Ed25519PublicKey.from_public_bytes(next(iter(SIGNER.public_keys.values())))
SERVICE = (("x-service-key", SERVICE_KEY),)


async def like(running: Served, person: Person, **more: str) -> pb.CastProposalVoteResponse:
    request = pb.CastProposalVoteRequest(market_id=MARKET, vote="like", **more)
    return await VoteServiceStub(running.channel).CastProposalVote(request, metadata=running.bearer(person))


async def proof(running: Served, market_id: str = MARKET, **which: str) -> pb.GetVoteProofResponse:
    request = pb.GetVoteProofRequest(market_id=market_id, **which)
    return await VoteServiceStub(running.channel).GetVoteProof(request)


async def exported(running: Served, market_id: str = MARKET) -> list[dict[str, Any]]:
    parts = VoteServiceStub(running.channel).ExportVotes(pb.ExportVotesRequest(market_id=market_id))
    return [json.loads(line) for line in b"".join([part.lines async for part in parts]).splitlines()]


def is_kept(receipt: pb.VoteReceipt, market_id: str = MARKET, vote_type: VoteType = VoteType.PROPOSAL) -> bool:
    """Whether a receipt holds, from nothing but its own fields and the server's public key."""
    place = LogPlace(MarketId(market_id), vote_type, receipt.sequence, bytes.fromhex(receipt.leaf_hash))
    seal = Seal(receipt.batch_size, receipt.key_id, bytes.fromhex(receipt.signature))
    path = tuple(map(bytes.fromhex, receipt.batch_path))
    kept = Receipt(place.sequence, place.leaf_hash, receipt.batch_index, path, seal)
    return holds(kept, place, SIGNER.public_keys)


def signature_of(person: Person, market_id: str = MARKET, vote_type: VoteType = VoteType.PROPOSAL) -> str:
    vote = CastVote(MarketId(market_id), "", person.wallet, vote_type, True, 1, None)
    return person.sign(vote_message(PROGRAM_ID, vote))


async def on_chain(running: Served, person: Person, *, choice: bool = False, market_id: MarketId = MARKET) -> str:
    """A vote that the chain shows, of which the market hears as it does from the indexer."""
    vote_type = VoteType.PROPOSAL if market_id == MARKET else VoteType.DISPUTE
    vote_id, signature = str(uuid.uuid4()), person.sign("a transaction")
    place = (market_id, vote_id, person.wallet, vote_type, choice, 1, None)
    await running.town.submit(RecordChainVote(*place, signature, 12, START_S))
    return vote_id
