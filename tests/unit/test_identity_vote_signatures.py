"""What a wallet signs when it signs a vote: exactly the text, by exactly this wallet."""

from __future__ import annotations

from dataclasses import replace

import pytest
from solders.keypair import Keypair

from app.wiring_audit import verifies_strictly
from domain.commands import CastVote
from domain.ids import MarketId, Wallet, base58_encode
from domain.tally import VoteType
from identity import Verifies, VoteSignatures, verifies
from identity.vote_signatures import vote_message

PROGRAM, MARKET = "6s8bbbCS7oNYNnTUHgrPDHG4jqaSrD6MSxQSPVR1rxw", MarketId("4uQeVj5tqViQh7yWWGStvkEG1Zmhx6uasJtWCJziofM")
PAIR = Keypair()
VOTE = CastVote(MARKET, "id", Wallet(str(PAIR.pubkey())), VoteType.DISPUTE, True, 7, None)
BOTH = pytest.mark.parametrize("check", [verifies, verifies_strictly], ids=["OpenSSL", "Solana"])


def signed(vote: CastVote = VOTE, pair: Keypair = PAIR, program: str = PROGRAM) -> CastVote:
    signature = pair.sign_message(vote_message(program, vote).encode())
    return replace(vote, wallet_signature=str(signature))


def test_the_text_names_purpose_program_market_vote_and_voter() -> None:
    assert vote_message(PROGRAM, VOTE) == (
        f"zmart.dev vote\nVersion: 1\nProgram: {PROGRAM}\nMarket: {MARKET}\nType: dispute\nVote: support\n"
        f"Voter: {PAIR.pubkey()}"
    )


@BOTH
def test_a_wallets_own_signature_fits_and_a_vote_without_one_needs_none(check: Verifies) -> None:
    signatures = VoteSignatures(PROGRAM, check)
    assert signatures.fits(signed())
    assert signatures.fits(VOTE)


@BOTH
def test_a_signature_of_another_vote_wallet_market_or_program_does_not_fit(check: Verifies) -> None:
    signatures = VoteSignatures(PROGRAM, check)
    others = [
        replace(VOTE, choice=False),
        replace(VOTE, vote_type=VoteType.PROPOSAL),
        replace(VOTE, market_id=MarketId(PROGRAM)),
    ]
    wrong = [replace(VOTE, wallet_signature=signed(other).wallet_signature) for other in others]
    wrong += [signed(pair=Keypair()), signed(program=MARKET)]
    assert not [vote for vote in wrong if signatures.fits(vote)]


@BOTH
@pytest.mark.parametrize("text", ["", "0OIl", "1" * 64, "1" * 87, "z" * 88, "x" * 10_000, base58_encode(bytes(63))])
def test_what_is_no_signature_at_all_does_not_fit(text: str, check: Verifies) -> None:
    assert not VoteSignatures(PROGRAM, check).fits(replace(VOTE, wallet_signature=text))


@BOTH
def test_every_flipped_bit_of_a_signature_is_noticed(check: Verifies) -> None:
    signatures, good = VoteSignatures(PROGRAM, check), bytes(PAIR.sign_message(vote_message(PROGRAM, VOTE).encode()))
    for bit in range(0, 512, 7):
        bad = bytearray(good)
        bad[bit // 8] ^= 1 << bit % 8
        assert not signatures.fits(replace(VOTE, wallet_signature=base58_encode(bytes(bad))))
