"""Merkle trees as RFC 9162 has them: the frontier, the roots and the paths agree, and nothing altered verifies."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Sequence

import pytest

from domain.merkle import EMPTY_ROOT, Frontier, inclusion_path, leaf_hash, root_from_path, root_of

SEED = 9162
LEAVES = [leaf_hash(number.to_bytes(4, "big")) for number in range(5000)]
OTHER = leaf_hash(b"somebody else")


def rfc_root(leaves: Sequence[bytes]) -> bytes:
    """The definition of RFC 9162 section 2.1.1, word by word."""
    if len(leaves) <= 1:
        return leaves[0] if leaves else hashlib.sha256().digest()
    split = 1 << (len(leaves) - 1).bit_length() - 1
    left, right = rfc_root(leaves[:split]), rfc_root(leaves[split:])
    return hashlib.sha256(b"\x01" + left + right).digest()


def test_a_leaf_and_an_empty_log_are_hashed_as_the_rfc_says() -> None:
    assert leaf_hash(b"") == hashlib.sha256(b"\x00").digest()
    assert root_of([]) == Frontier().root() == EMPTY_ROOT == hashlib.sha256(b"").digest()
    assert root_of(LEAVES[:1]) == LEAVES[0]


def test_frontier_and_leaves_give_the_root_of_the_rfc_for_every_size() -> None:
    frontier = Frontier()
    for size in range(301):
        assert frontier.root() == root_of(LEAVES[:size]) == rfc_root(LEAVES[:size])
        assert (frontier.size, len(frontier.peaks)) == (size, size.bit_count())
        frontier = frontier.plus(LEAVES[size])


def test_leaves_may_come_in_any_portions() -> None:
    rng = random.Random(SEED)
    for _ in range(30):
        frontier, size = Frontier(), 0
        while size < 3000:
            more = rng.randint(0, 700)
            frontier = frontier.plus_all(LEAVES[size : size + more])
            size += more
            assert frontier.root() == rfc_root(LEAVES[:size])


@pytest.mark.parametrize("size", [*range(1, 34), 63, 64, 65, 100])
def test_every_path_leads_to_the_root_and_nothing_else_does(size: int) -> None:
    leaves = LEAVES[:size]
    root = root_of(leaves)
    for index in range(size):
        path = inclusion_path(index, leaves)
        assert root_from_path(leaves[index], index, size, path) == root
        assert root_from_path(OTHER, index, size, path) != root
        assert all(
            root_from_path(leaves[index], other, size, path) != root for other in range(-1, size + 2) if other != index
        )
        assert root_from_path(leaves[index], index, size, (*path, OTHER)) is None
        assert not path or root_from_path(leaves[index], index, size, path[:-1]) != root
        for level in range(len(path)):
            assert root_from_path(leaves[index], index, size, (*path[:level], OTHER, *path[level + 1 :])) != root


def test_random_leaves_of_large_logs_are_proven() -> None:
    rng = random.Random(SEED)
    for _ in range(20):
        size = rng.randint(1000, len(LEAVES))
        index, root = rng.randrange(size), root_of(LEAVES[:size])
        path = inclusion_path(index, LEAVES[:size])
        assert len(path) <= (size - 1).bit_length()
        assert root_from_path(LEAVES[index], index, size, path) == root
        flipped = bytes([LEAVES[index][0] ^ 1]) + LEAVES[index][1:]
        assert root_from_path(flipped, index, size, path) != root
