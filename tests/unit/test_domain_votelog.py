"""The bytes of a log's entry: fixed, because whoever recounts the votes computes them again."""

from __future__ import annotations

import hashlib
from dataclasses import fields, replace
from typing import Any

import pytest

from domain.ids import MarketId, Wallet
from domain.tally import VoteType
from domain.votelog import LogEntry, entry_of, leaf_bytes, leaf_of
from tests.support.storage import chain_vote

FULL = LogEntry(
    market_id=MarketId("MARKET"),
    vote_type=VoteType.DISPUTE,
    wallet=Wallet("WALLET"),
    choice=True,
    weight=2**64 - 1,
    weight_slot=7,
    source="api",
    transaction_signature=None,
    vote_id="0d0c2a5e-0000-4000-8000-00000000000a",
    accepted_at_ms=1_762_516_800_123,
    market_version=12,
    wallet_signature="SIGNATURE",
)
OTHER: dict[type, Any] = {str: "other", int: 99, bool: False, VoteType: VoteType.PROPOSAL, type(None): "other"}


def test_an_entry_is_thirteen_lines_in_fixed_order() -> None:
    assert leaf_bytes(FULL) == (
        b"zmart.vote.v1\nMARKET\ndispute\nWALLET\nsupport\n18446744073709551615\n7\napi\n-\n"
        b"0d0c2a5e-0000-4000-8000-00000000000a\n1762516800123\n12\nSIGNATURE"
    )
    assert leaf_of(FULL) == hashlib.sha256(b"\x00" + leaf_bytes(FULL)).digest()


def test_what_is_absent_is_a_dash() -> None:
    bare = replace(FULL, vote_type=VoteType.PROPOSAL, choice=False, weight=1, weight_slot=None, wallet_signature=None)
    assert leaf_bytes(bare).decode().split("\n")[2:9] == ["proposal", "WALLET", "dislike", "1", "-", "api", "-"]
    assert leaf_bytes(bare).endswith(b"\n12\n-")


@pytest.mark.parametrize("name", [field.name for field in fields(LogEntry)])
def test_every_field_of_an_entry_is_in_its_leaf(name: str) -> None:
    change: dict[str, Any] = {name: OTHER[type(getattr(FULL, name))]}
    assert leaf_of(replace(FULL, **change)) != leaf_of(FULL)


def test_a_vote_from_the_chain_names_its_transaction() -> None:
    vote = chain_vote(1, False, vote_type=VoteType.DISPUTE, weight=0, weight_slot=None, transaction_signature="TX")
    entry = entry_of(vote, 5, 6)
    assert (entry.source, entry.transaction_signature, entry.wallet_signature) == ("chain", "TX", None)
    assert leaf_bytes(entry).split(b"\n")[4:9] == [b"reject", b"0", b"-", b"chain", b"TX"]
