"""Between messages and what an audit is about: receipts and proofs; the rest is in `translate.py`."""

from __future__ import annotations

from domain.commands import CastVote
from domain.outcomes import VoteTaken
from domain.tally import VoteType, word_of
from grpc_server import translate
from grpc_server.problems import Invalid, violation
from grpc_server.proofs import Proof, ProofWanted
from identity import LogPlace, Receipt, Seal
from zmart.v1 import vote_service_pb2 as pb


def proof_wanted(request: pb.GetVoteProofRequest) -> ProofWanted:
    """Which vote to prove, and against which aggregation."""
    if request.vote_type and request.vote_type not in list(VoteType):
        raise violation(Invalid.VOTE_TYPE_UNKNOWN, "vote_type", request.vote_type)
    if not request.vote_id and not (request.vote_type and request.user_pubkey):
        raise violation(Invalid.VOTE_NOT_NAMED, "vote_id")
    return ProofWanted(
        market_id=translate.market_id(request.market_id),
        vote_id=_uuid(request.vote_id, "vote_id", Invalid.VOTE_ID_MALFORMED),
        vote_type=VoteType(request.vote_type) if request.vote_type else None,
        wallet=translate.address(request.user_pubkey, "user_pubkey") if request.user_pubkey else None,
        aggregation_id=_uuid(request.aggregation_id, "aggregation_id", Invalid.AGGREGATION_ID_MALFORMED),
    )


def log_place(vote: CastVote, taken: VoteTaken) -> LogPlace:
    """What the receipt of a stored vote is about."""
    return LogPlace(vote.market_id, vote.vote_type, taken.sequence, taken.leaf_hash)


def vote_receipt(receipt: Receipt) -> pb.VoteReceipt:
    """A receipt."""
    return pb.VoteReceipt(
        sequence=receipt.sequence,
        leaf_hash=receipt.leaf_hash.hex(),
        batch_index=receipt.batch_index,
        batch_size=receipt.seal.size,
        batch_path=[step.hex() for step in receipt.batch_path],
        key_id=receipt.seal.key_id,
        signature=receipt.seal.signature.hex(),
    )


def receipt_batch(seal: Seal) -> pb.ReceiptBatch:
    """The signature for the receipts of a message."""
    return pb.ReceiptBatch(size=seal.size, key_id=seal.key_id, signature=seal.signature.hex())


def proof_response(proof: Proof) -> pb.GetVoteProofResponse:
    """A proof of inclusion."""
    entry, commitment = proof.entry, proof.commitment
    return pb.GetVoteProofResponse(
        entry=pb.LoggedVote(
            market_id=entry.market_id,
            vote_type=entry.vote_type.value,
            user_pubkey=entry.wallet,
            vote=word_of(entry.vote_type, entry.choice),
            weight=str(entry.weight),
            weight_slot=entry.weight_slot,
            source=entry.source,
            transaction_signature=entry.transaction_signature or "",
            vote_id=entry.vote_id,
            accepted_at_ms=entry.accepted_at_ms,
            market_version=entry.market_version,
            wallet_signature=entry.wallet_signature or "",
        ),
        sequence=proof.receipt.sequence,
        leaf_hash=proof.receipt.leaf_hash.hex(),
        tree_size=commitment.size,
        root=commitment.root.hex(),
        path=[step.hex() for step in proof.path],
        aggregation_id=commitment.aggregation_id,
        receipt=vote_receipt(proof.receipt),
    )


def _uuid(text: str, field: str, invalid: Invalid) -> str | None:
    return translate.uuid_text(text, field, invalid) if text else None
