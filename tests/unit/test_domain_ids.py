"""Identities: three spellings in, one out."""

import uuid

import base58
import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.ids import (
    VIRTUAL_SHARDS,
    MalformedId,
    MarketId,
    base58_decode,
    base58_encode,
    key_bytes,
    parse_market_id,
    parse_wallet,
    virtual_shard,
)


@given(st.binary(max_size=40))
def test_base58_agrees_with_the_reference_library(raw: bytes) -> None:
    text = base58_encode(raw)
    assert text.encode() == base58.b58encode(raw)
    assert base58_decode(text) == raw


@given(st.binary(min_size=32, max_size=32))
def test_hex_and_base58_name_the_same_market(raw: bytes) -> None:
    assert parse_market_id(raw.hex()) == parse_market_id(base58_encode(raw))
    assert key_bytes(parse_market_id(raw.hex().upper())) == raw


@given(st.uuids())
def test_a_dashed_uuid_is_sixteen_bytes_and_sixteen_zeros(name: uuid.UUID) -> None:
    assert key_bytes(parse_market_id(str(name))) == name.bytes + bytes(16)


@pytest.mark.parametrize("text", ["", "0", "O0Il", "1" * 31, "1" * 33, "z" * 44, "ab" * 33, "a" * 10_000, "Ünï", " "])
def test_what_is_not_32_bytes_is_malformed(text: str) -> None:
    with pytest.raises(MalformedId):
        parse_market_id(text)
    with pytest.raises(MalformedId):
        parse_wallet(text)


@given(st.text(max_size=80))
def test_any_text_is_parsed_or_refused(text: str) -> None:
    try:
        market_id = parse_market_id(text)
    except MalformedId as refused:
        assert refused.text == text[:64]
    else:
        assert len(key_bytes(market_id)) == 32


def test_a_virtual_shard_never_moves() -> None:
    """The database stores these numbers; another hash would tear markets from their owners."""
    ids = [MarketId(base58_encode(number.to_bytes(32, "big"))) for number in range(5)]
    assert [virtual_shard(market_id) for market_id in ids] == [49, 11, 29, 62, 40]
    assert VIRTUAL_SHARDS == 64
