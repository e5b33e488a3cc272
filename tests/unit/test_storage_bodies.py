"""Bodies stored and read again: the same bytes, whatever they are."""

from __future__ import annotations

import random

import zstandard

from indexer.arrivals import fault_of_body, items_of
from storage.bodies import BYTES_MAX, PACKED_FROM_BYTES, packed, unpacked


def test_every_body_comes_back_as_it_was_and_large_ones_are_stored_small() -> None:
    dice = random.Random(1)
    alike = b'[{"signature": "x"}]' * 5_000
    for body in (b"", b"{}", dice.randbytes(PACKED_FROM_BYTES), alike, bytes(BYTES_MAX), packed(alike)):
        assert unpacked(packed(body)) == body
    assert len(packed(alike)) < len(alike) / 100
    assert packed(b"{}") == b"{}"


def test_a_body_that_looks_compressed_is_what_was_pushed_and_bytes_stored_otherwise_are_what_they_are() -> None:
    forged = zstandard.FRAME_HEADER + b"not a frame"
    assert unpacked(packed(forged)) == forged
    assert unpacked(forged) == forged
    assert unpacked(b"[{}]") == b"[{}]"


def test_what_only_the_slower_parser_takes_is_taken() -> None:
    lone = b'[{"logs": "\\ud800"}]'
    assert fault_of_body(lone) is None
    assert items_of(lone) == [{"logs": "\ud800"}]
    assert fault_of_body(b"[" * 2_000 + b"]" * 2_000) is not None
