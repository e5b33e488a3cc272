"""Receipts: this server's signed word that a vote stands at a place of its market's log, and nowhere else.

Receipts that are issued together form a Merkle tree, and one signature over its root stands for all of them: it takes
32 us, a vote's share of the tree 2. Nothing is stored: place and leaf of a vote never change, so a receipt can be
issued again at any time and says the same.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from domain.ids import MarketId
from domain.merkle import inclusion_paths, leaf_hash, levels, root_from_path, root_of
from domain.tally import VoteType
from identity.keys import SigningKey, key_id_of
from identity.vote_signatures import verifies


class LogPlace(NamedTuple):
    """What a receipt is about: the vote at `sequence` (from 1) of a log has the leaf `leaf_hash` (32 bytes)."""

    market_id: MarketId
    vote_type: VoteType
    sequence: int
    leaf_hash: bytes

    def body(self) -> bytes:
        """The bytes that the receipt's leaf is the hash of."""
        market_id, vote_type, sequence, leaf = self
        return f"zmart.receipt.v1\n{market_id}\n{vote_type.value}\n{sequence}\n{leaf.hex()}".encode()


@dataclass(frozen=True, slots=True)
class Seal:
    """One signature for `size` receipts, 64 bytes, by the key of that id."""

    size: int
    key_id: str
    signature: bytes


class Receipt(NamedTuple):
    """A seal and the way from one vote to what it seals; alone, a receipt has index 0 and an empty path."""

    sequence: int
    leaf_hash: bytes
    batch_index: int
    batch_path: tuple[bytes, ...]
    seal: Seal


class ReceiptSigner:
    """Issues receipts. `former_keys` are public keys (32 bytes) of receipts that were issued before `key` was."""

    def __init__(self, key: SigningKey, former_keys: Sequence[bytes] = ()) -> None:
        self._key = key
        named = {key_id_of(raw): raw for raw in former_keys}
        self.public_keys: Mapping[str, bytes] = {**named, key.key_id: key.public.public_bytes_raw()}
        """Every key whose receipts are ours, by its id."""

    def seal(self, votes: Sequence[LogPlace]) -> Seal:
        """Sign for all of them (at least one), for a client that has them all and finds the paths itself."""
        return self._seal(root_of(_leaves(votes)), len(votes))

    def issue(self, votes: Sequence[LogPlace]) -> list[Receipt]:
        """A receipt for each vote (at least one), in order, under one signature."""
        tree = levels(_leaves(votes))
        seal = self._seal(tree[-1][0], len(votes))
        return [
            Receipt(vote.sequence, vote.leaf_hash, index, path, seal)
            for index, (vote, path) in enumerate(zip(votes, inclusion_paths(tree), strict=True))
        ]

    def _seal(self, root: bytes, size: int) -> Seal:
        return Seal(size, self._key.key_id, self._key.private.sign(_sealed(root, size)))


def holds(receipt: Receipt, vote: LogPlace, public_keys: Mapping[str, bytes]) -> bool:
    """Whether a receipt is for that vote and by one of these keys, as whoever keeps it checks it."""
    key = public_keys.get(receipt.seal.key_id)
    if key is None or (receipt.sequence, receipt.leaf_hash) != (vote.sequence, vote.leaf_hash):
        return False
    root = root_from_path(leaf_hash(vote.body()), receipt.batch_index, receipt.seal.size, receipt.batch_path)
    return root is not None and verifies(key, receipt.seal.signature, _sealed(root, receipt.seal.size))


def _leaves(votes: Sequence[LogPlace]) -> list[bytes]:
    return [leaf_hash(vote.body()) for vote in votes]


def _sealed(root: bytes, size: int) -> bytes:
    """The bytes that a seal signs."""
    return f"zmart.receipts.v1\n{root.hex()}\n{size}".encode()
