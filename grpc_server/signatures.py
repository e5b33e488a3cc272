"""Wallets' signatures of their own votes: a vote that carries one is taken only if it fits."""

from __future__ import annotations

from domain.commands import CastVote
from grpc_server.problems import Invalid, violation
from identity import VoteSignatures


def signed_well(vote: CastVote, signatures: VoteSignatures) -> CastVote:
    """The vote as it is; rejects one whose `wallet_signature` is not its wallet's signature of it."""
    if not signatures.fits(vote):
        raise violation(Invalid.WALLET_SIGNATURE_INVALID, "wallet_signature")
    return vote
