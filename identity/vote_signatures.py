"""What a wallet signs when it signs a vote, so that nobody has to believe this server who voted for what.

The text names its purpose first, so that no wallet can be led to sign it for something else, and program, market and
voter, so that it stands for one vote only. Public values, so nothing here needs constant time.
"""

from __future__ import annotations

from collections.abc import Callable

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from domain.commands import CastVote
from domain.ids import MalformedId, base58_decode, key_bytes
from domain.tally import word_of

SIGNATURE_BYTES = 64
TEXT_LENGTH_MAX = 88
"""Longest base58 of 64 bytes; anything longer is refused before it is decoded."""

Verifies = Callable[[bytes, bytes, bytes], bool]
"""Whether (public key, signature, message) fit."""


def verifies(public_key: bytes, signature: bytes, message: bytes) -> bool:
    """Whether an ed25519 signature fits; takes 105 us, all of it OpenSSL's."""
    try:
        Ed25519PublicKey.from_public_bytes(public_key).verify(signature, message)
    except (InvalidSignature, ValueError):
        return False
    return True


def vote_message(program_id: str, vote: CastVote) -> str:
    """The text that the wallet of a vote signs: seven lines, parted by LF."""
    return "\n".join(
        (
            "zmart.dev vote",
            "Version: 1",
            f"Program: {program_id}",
            f"Market: {vote.market_id}",
            f"Type: {vote.vote_type}",
            f"Vote: {word_of(vote.vote_type, vote.choice)}",
            f"Voter: {vote.wallet}",
        )
    )


class VoteSignatures:
    """Signatures over votes on the markets of one program. Whoever checks thousands a second hands in a faster check.

    What `check` accepts must be accepted by every verifier of RFC 8032, or an export would not pass its recount.
    """

    def __init__(self, program_id: str, check: Verifies = verifies) -> None:
        self._program_id = program_id
        self._check = check

    def fits(self, vote: CastVote) -> bool:
        """Whether the signature that a vote carries is its wallet's, base58 of 64 bytes; True when it carries none."""
        if vote.wallet_signature is None:
            return True
        signature = _decoded(vote.wallet_signature)
        message = vote_message(self._program_id, vote).encode()
        return len(signature) == SIGNATURE_BYTES and self._check(key_bytes(vote.wallet), signature, message)


def _decoded(text: str) -> bytes:
    """The bytes of a signature; those of what is none have another length."""
    if len(text) > TEXT_LENGTH_MAX:
        return b""
    try:
        return base58_decode(text)
    except MalformedId:
        return b""
