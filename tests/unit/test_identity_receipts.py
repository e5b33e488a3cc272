"""Receipts: one signature for many, each checkable alone, and nothing about them can be changed."""

from __future__ import annotations

import hashlib
from dataclasses import replace

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from domain.ids import MarketId
from domain.tally import VoteType
from identity import LogPlace, ReceiptSigner
from identity.keys import signing_key
from identity.receipts import holds

KEY, FORMER = signing_key(Ed25519PrivateKey.generate()), Ed25519PrivateKey.generate().public_key().public_bytes_raw()
SIGNER = ReceiptSigner(KEY, [FORMER])
MARKET = MarketId("6s8bbbCS7oNYNnTUHgrPDHG4jqaSrD6MSxQSPVR1rxw")
SIZES = [1, 2, 3, 4, 5, 7, 8, 9, 31, 64, 100]


def places(count: int) -> list[LogPlace]:
    return [
        LogPlace(MARKET, VoteType.PROPOSAL, number, hashlib.sha256(b"%d" % number).digest())
        for number in range(1, count + 1)
    ]


@pytest.mark.parametrize("count", SIZES)
def test_every_receipt_of_a_batch_holds_for_its_own_vote_and_for_no_other(count: int) -> None:
    votes = places(count)
    receipts = SIGNER.issue(votes)
    assert [receipt.sequence for receipt in receipts] == [vote.sequence for vote in votes]
    for receipt, vote in zip(receipts, votes, strict=True):
        assert holds(receipt, vote, SIGNER.public_keys)
        assert not holds(receipt, vote._replace(vote_type=VoteType.DISPUTE), SIGNER.public_keys)
        assert not holds(receipt, vote._replace(sequence=vote.sequence + 1), SIGNER.public_keys)


def test_a_batch_has_one_signature_and_one_receipt_alone_has_no_path() -> None:
    assert len({receipt.seal.signature for receipt in SIGNER.issue(places(64))}) == 1
    (alone,) = SIGNER.issue(places(1))
    assert (alone.batch_index, alone.seal.size, alone.batch_path) == (0, 1, ())


def test_the_signed_bytes_are_those_of_the_format() -> None:
    (vote,) = places(1)
    (receipt,) = SIGNER.issue([vote])
    body = f"zmart.receipt.v1\n{MARKET}\nproposal\n1\n{vote.leaf_hash.hex()}".encode()
    root = hashlib.sha256(b"\0" + body).hexdigest()
    public = Ed25519PublicKey.from_public_bytes(SIGNER.public_keys[receipt.seal.key_id])
    public.verify(receipt.seal.signature, f"zmart.receipts.v1\n{root}\n1".encode())
    assert receipt.seal.key_id == hashlib.sha256(public.public_bytes_raw()).hexdigest()[:16]


@pytest.mark.parametrize("count", SIZES)
def test_a_seal_is_the_signature_that_the_receipts_of_the_same_votes_have(count: int) -> None:
    votes = places(count)
    assert SIGNER.seal(votes) == SIGNER.issue(votes)[0].seal


def test_a_receipt_that_was_changed_anywhere_holds_for_nothing() -> None:
    votes = places(5)
    receipt = SIGNER.issue(votes)[2]
    seal = receipt.seal
    changed = [
        receipt._replace(sequence=4),
        receipt._replace(leaf_hash=bytes(32)),
        receipt._replace(batch_index=3),
        receipt._replace(batch_index=5),
        receipt._replace(batch_path=receipt.batch_path[:-1]),
        receipt._replace(batch_path=(*receipt.batch_path, bytes(32))),
        receipt._replace(batch_path=(bytes(32), *receipt.batch_path[1:])),
        receipt._replace(seal=replace(seal, size=6)),
        receipt._replace(seal=replace(seal, key_id="0" * 16)),
        receipt._replace(seal=replace(seal, signature=bytes(64))),
    ]
    assert holds(receipt, votes[2], SIGNER.public_keys)
    assert not [one for one in changed if holds(one, votes[2], SIGNER.public_keys)]


def test_former_keys_are_listed_and_sign_nothing() -> None:
    assert set(SIGNER.public_keys.values()) == {FORMER, KEY.public.public_bytes_raw()}
    assert SIGNER.seal(places(1)).key_id == KEY.key_id
