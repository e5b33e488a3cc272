"""Events by discriminator and length: the wire vectors of CI 7.3, rubbish as data, and agreement with anchorpy."""

import base64
import hashlib
import json
from dataclasses import fields
from typing import Any

import pytest
from anchorpy.coder.event import EventCoder
from anchorpy_core.idl import Idl
from hypothesis import given
from hypothesis import strategies as st
from solders.pubkey import Pubkey

from chain.decoder import EVENT_FIELDS, EVENT_NAMES, decode_event
from chain.errors import idl_json
from chain.events import (
    ChainEvent,
    ConfigUpdated,
    DisputeAggregated,
    DisputeInitiated,
    DisputeVoteSubmitted,
    EventFault,
    GlobalConfigInitialized,
    LiquidityWithdrawn,
    MarketActivated,
    MarketCancelled,
    MarketCreated,
    MarketFinalized,
    MarketResolved,
    OldWinningsClaimed,
    ProposalAggregated,
    ProposalApproved,
    ProposalVoteSubmitted,
    ProtocolPauseStatusChanged,
    SharesBought,
    SharesSold,
    UndecodableEvent,
    WinningsClaimed,
)
from chain.ledger.zmart.events import event_bytes
from domain.ids import MarketId, Wallet, base58_encode, key_bytes

E9, AT = 10**9, 1_762_510_000
ID = MarketId(base58_encode(bytes([1]) * 32))
AS_ADDRESS = Wallet(ID)
FIRST, USER = Wallet(base58_encode(bytes([2]) * 32)), Wallet(base58_encode(bytes([3]) * 32))

VECTORS: list[tuple[str, int, ChainEvent]] = [
    (
        "WLiC5+JUBjoBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAOh2SBcAAAAAsMQNaQAAAAA=",
        89,
        MarketCreated(ID, FIRST, 100 * E9, 0, AT),
    ),
    (
        "nEOPAtmiBjgBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAbDEDWkAAAAA",
        81,
        ProposalVoteSubmitted(ID, USER, True, AT),
    ),
    (
        "6qZHdjzzi9UBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQcAAAADAAAARgGwxA1pAAAAAA==",
        58,
        ProposalAggregated(ID, 7, 3, 70, True, AT),
    ),
    (
        "RjGb5J0rWDEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICsMQNaQAAAAA=",
        80,
        ProposalApproved(ID, FIRST, AT),
    ),
    (
        "xElOMLuEawsBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAOH1BQAAAACwxA1pAAAAAA==",
        88,
        MarketActivated(ID, FIRST, 100_000_000, AT),
    ),
    (
        "i6MhqBO0UaoBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICsMQNaQAAAAA=",
        80,
        MarketCancelled(ID, FIRST, AT),
    ),
    (
        "8GJFCv3q4kEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAdZvbG0AAAAAPLKZOwAAAAB0bBMeAAAAALDEDWkAAAAA",
        105,
        SharesBought(ID, USER, True, 1_835_823_062, 999_928_380, 504_589_428, AT),
    ),
    (
        "I+cFNeSecfsBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAdZvbG0AAAAA1JHDMAAAAAAAZc0dAAAAALDEDWkAAAAA",
        105,
        SharesSold(ID, USER, True, 1_835_823_062, 818_123_220, 500_000_000, AT),
    ),
    (
        "WUPmX49qx8oBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAVFtYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWGwxA1pAAAAAA==",
        127,
        MarketResolved(ID, FIRST, True, b"Qm" + b"a" * 44, AT),
    ),
    (
        "lm1d/MYEt5kBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAQGwxA1pAAAAAA==",
        82,
        DisputeInitiated(ID, USER, True, AT),
    ),
    (
        "JwLVw04KwXIBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDALDEDWkAAAAA",
        81,
        DisputeVoteSubmitted(ID, USER, False, AT),
    ),
    (
        "OhHSoEskaSYBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQYAAAAEAAAAPAGwxA1pAAAAAA==",
        58,
        DisputeAggregated(ID, 6, 4, 60, True, AT),
    ),
    (
        "Uz5CzCVM6rMBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEAAbDEDWkAAAAA",
        51,
        MarketFinalized(ID, False, True, AT),
    ),
    (
        "Uz5CzCVM6rMBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQAAsMQNaQAAAAA=",
        50,
        MarketFinalized(ID, None, False, AT),
    ),
    (
        "u7gdxDZ1RpYBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAQGGwowDAAAAALDEDWkAAAAA",
        90,
        WinningsClaimed(AS_ADDRESS, USER, True, 59_556_486, AT),
    ),
    (
        "u7gdxDZ1RpYBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDADz5+QIAAAAAsMQNaQAAAAA=",
        89,
        WinningsClaimed(AS_ADDRESS, USER, None, 49_936_700, AT),
    ),
    (
        "u7gdxDZ1RpYBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDhsKMAwAAAACifCkAAAAAALDEDWkAAAAA",
        96,
        OldWinningsClaimed(ID, USER, 59_556_486, 2_718_882, AT),
    ),
    (
        "8HhJi5of2kQBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAGXNHQAAAACwxA1pAAAAAA==",
        88,
        LiquidityWithdrawn(ID, FIRST, 500_000_000, AT),
    ),
    (
        "Bd2snk1XnXECAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDLAGwxA1pAAAAAA==",
        82,
        GlobalConfigInitialized(FIRST, USER, 300, AT),
    ),
    (
        "KPHmegsTxsIsAcgA9AFYG3AXgFEBAAAAAACA9AMAAAAAALDEDWkAAAAA",
        42,
        ConfigUpdated(300, 200, 500, 7000, 6000, 86_400, 259_200, AT),
    ),
    (
        "vZbYAWcjMWcBAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgKwxA1pAAAAAA==",
        49,
        ProtocolPauseStatusChanged(True, FIRST, AT),
    ),
]


def wire(event: ChainEvent) -> bytes:
    """The event as the ledger's own coder writes it."""
    values = [getattr(event, item.name) for item in fields(event)]
    raw = [key_bytes(value) if isinstance(value, str) else value for value in values]
    return event_bytes(event.NAME, *raw, build="old" if isinstance(event, OldWinningsClaimed) else "new")


@pytest.mark.parametrize(("text", "size", "event"), VECTORS, ids=lambda value: type(value).__name__)
def test_every_wire_vector_is_read_and_written(text: str, size: int, event: ChainEvent) -> None:
    raw = base64.b64decode(text)
    assert len(raw) == size
    assert decode_event(raw) == event
    assert wire(event) == raw


def test_a_dispute_of_nothing_is_one_byte_shorter() -> None:
    event = DisputeInitiated(ID, USER, None, AT)
    raw = wire(event)
    assert (len(raw), decode_event(raw)) == (81, event)


def test_the_names_are_the_18_of_the_interface_and_the_tags_anchors() -> None:
    assert sorted(EVENT_NAMES) == sorted(entry["name"] for entry in idl_json()["events"])
    assert len(EVENT_NAMES) == 18
    assert {type(event).NAME for _, _, event in VECTORS} == set(EVENT_NAMES)
    for _, _, event in VECTORS:
        assert wire(event)[:8] == hashlib.sha256(f"event:{event.NAME}".encode()).digest()[:8]


@pytest.mark.parametrize(("text", "size", "event"), VECTORS, ids=lambda value: type(value).__name__)
def test_another_length_is_reported_and_never_guessed(text: str, size: int, event: ChainEvent) -> None:
    raw = base64.b64decode(text)
    published = {81, 82} if event.NAME == "DisputeInitiated" else {size}
    published |= {50, 51} if event.NAME == "MarketFinalized" else set()
    published |= {89, 90, 96} if event.NAME == "WinningsClaimed" else set()
    for length in {*range(8, size + 20)} - published:
        odd = (raw + bytes(20))[:length]
        assert decode_event(odd) == UndecodableEvent(EventFault.WRONG_LENGTH, event.NAME, odd)


def test_an_unknown_discriminator_is_data() -> None:
    for raw in (b"", b"\0" * 7, b"\xff" * 81):
        assert decode_event(raw) == UndecodableEvent(EventFault.UNKNOWN_DISCRIMINATOR, None, raw)


@pytest.mark.parametrize(
    ("event", "at", "byte"),
    [
        (ProposalVoteSubmitted(ID, USER, True, AT), 72, 2),
        (MarketFinalized(ID, None, False, AT), 40, 1),
        (MarketFinalized(ID, True, False, AT), 40, 0),
        (MarketFinalized(ID, True, False, AT), 41, 2),
        (WinningsClaimed(AS_ADDRESS, USER, True, 5, AT), 72, 2),
    ],
)
def test_a_bool_that_is_none_makes_the_event_malformed(event: ChainEvent, at: int, byte: int) -> None:
    raw = bytearray(wire(event))
    raw[at] = byte
    assert decode_event(bytes(raw)) == UndecodableEvent(EventFault.MALFORMED, event.NAME, bytes(raw))


@given(st.sampled_from([wire(event) for _, _, event in VECTORS]), st.binary(max_size=140))
def test_any_bytes_are_read_or_reported(known: bytes, tail: bytes) -> None:
    raw = known[:8] + tail
    event = decode_event(raw)
    assert isinstance(event, UndecodableEvent) or wire(event) == raw


def _older() -> dict[str, Any]:
    claim = [("marketId", {"array": ["u8", 32]}), ("user", "publicKey"), ("amount", "u64"), ("resolverFee", "u64")]
    items = [{"name": name, "type": kind, "index": False} for name, kind in [*claim, ("timestamp", "i64")]]
    idl = idl_json()
    kept = [entry for entry in idl["events"] if entry["name"] != "WinningsClaimed"]
    return {**idl, "events": [*kept, {"name": "WinningsClaimed", "fields": items}]}


ANCHORPY = {
    "new": EventCoder(Idl.from_json(json.dumps(idl_json()))),
    "old": EventCoder(Idl.from_json(json.dumps(_older()))),
}
VALUES: dict[str, st.SearchStrategy[Any]] = {
    "k": st.binary(min_size=32, max_size=32).map(base58_encode),
    "h": st.binary(min_size=46, max_size=46),
    "b": st.booleans(),
    "o": st.none() | st.booleans(),
    "B": st.integers(0, 2**8 - 1),
    "H": st.integers(0, 2**16 - 1),
    "I": st.integers(0, 2**32 - 1),
    "Q": st.integers(0, 2**64 - 1),
    "q": st.integers(-(2**63), 2**63 - 1),
}
EVENTS = st.sampled_from(EVENT_FIELDS).flatmap(
    lambda row: st.tuples(*(VALUES[kind] for kind in row[1])).map(lambda values: row[0](*values))
)


def as_anchorpy_reads(event: ChainEvent, raw: bytes) -> list[Any]:
    """anchorpy's field values in wire order, keys as base58 and byte arrays as bytes."""
    coder = ANCHORPY["old" if isinstance(event, OldWinningsClaimed) else "new"]
    parsed = coder.parse(raw)
    assert parsed.name == event.NAME
    named = {entry["name"]: entry for entry in (_older() if coder is ANCHORPY["old"] else idl_json())["events"]}
    return [
        _plain(value, entry) for value, entry in zip(_values(parsed.data), named[event.NAME]["fields"], strict=True)
    ]


def _values(data: Any) -> list[Any]:
    return [getattr(data, name) for name in data.__dataclass_fields__]


def _plain(value: Any, entry: dict[str, Any]) -> Any:
    if isinstance(value, Pubkey):
        return str(value)
    if entry["type"] == {"array": ["u8", 32]}:
        return base58_encode(bytes(value))
    return bytes(value) if isinstance(entry["type"], dict) and "array" in entry["type"] else value


@given(EVENTS)
def test_anchorpy_reads_the_same_from_the_same_bytes(event: ChainEvent) -> None:
    raw = wire(event)
    assert decode_event(raw) == event
    assert as_anchorpy_reads(event, raw) == [getattr(event, item.name) for item in fields(event)]
