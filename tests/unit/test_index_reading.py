"""From log lines to rows: every event with its own names, times, wallets and markets."""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import struct

import pytest

from chain.decoder import EVENT_FIELDS, EVENT_NAMES
from chain.events import MarketCancelled, WinningsClaimed
from domain.ids import MarketId, Wallet, base58_encode
from domain.indexed import ChainVoteSeen, EventRecord, Finality, MarketEffect
from domain.tally import VoteType
from indexer.arrivals import Arrival
from indexer.reading import UNDECODABLE, effects_of, event_hash, read_arrival, unresolved_address

PROGRAM = base58_encode(b"\7" * 32)
SIGNATURE = base58_encode(bytes(range(64)))
MARKET, USER = MarketId(base58_encode(b"\1" * 32)), Wallet(base58_encode(b"\2" * 32))
AT_S = 1_762_510_000
WIDTHS = {"k": 32, "b": 1, "o": 1, "h": 46, "H": 2, "I": 4, "B": 1, "Q": 8, "q": 8}


def tag(name: str) -> bytes:
    return hashlib.sha256(f"event:{name}".encode()).digest()[:8]


def encoded(name: str, kinds: str, at_s: int = AT_S) -> bytes:
    """An event whose first key is the market, whose second is the user, and whose other fields are large or 0."""
    keys = iter((b"\1" * 32, b"\2" * 32))
    parts = []
    for kind in kinds[:-1]:
        match kind:
            case "k":
                parts.append(next(keys))
            case "Q" | "q":
                parts.append(struct.pack("<Q", 2**63))
            case "h":
                parts.append(b"Qm" + b"x" * 44)
            case _:
                parts.append(bytes(WIDTHS[kind]))
    return tag(name) + b"".join(parts) + struct.pack("<q", at_s)


def arrival(*raws: bytes, err: str | None = None, block_time_s: int | None = 9) -> Arrival:
    lines = [f"Program data: {base64.b64encode(raw).decode()}" for raw in raws]
    logs = (f"Program {PROGRAM} invoke [1]", *lines, f"Program {PROGRAM} success")
    return Arrival(SIGNATURE, 77, 3, block_time_s, err, logs)


def read(*raws: bytes, **told: int | None) -> tuple[EventRecord, ...]:
    return read_arrival(arrival(*raws, **told), PROGRAM, "webhook", Finality.CONFIRMED).transaction.events  # type: ignore[arg-type]


@pytest.mark.parametrize(("build", "kinds"), EVENT_FIELDS, ids=lambda value: getattr(value, "__name__", ""))
def test_every_event_is_shown_with_the_programs_names_and_wide_numbers_as_text(build: type, kinds: str) -> None:
    (event,) = read(encoded(build.NAME, kinds))  # type: ignore[attr-defined]
    names = [field.name for field in dataclasses.fields(build)]
    time_name = "cancelled_at" if build is MarketCancelled else "timestamp"
    assert list(event.data) == [time_name if name == "at_s" else name for name in names]
    assert event.data[time_name] == str(AT_S) and event.timestamp_s == AT_S
    for name, kind in zip(event.data, kinds, strict=True):
        assert isinstance(event.data[name], str) == (kind in "kQqh"), name
    assert event.market_id == (MARKET if "market_id" in event.data else None)
    assert event.event_type in EVENT_NAMES and event.fault is None


def test_two_equal_events_of_one_transaction_have_places_and_hashes_of_their_own() -> None:
    raw = encoded("ProposalAggregated", "kIIBbq")
    first, second = read(raw, raw)
    assert (first.ordinal, second.ordinal) == (0, 1)
    assert first.event_hash == event_hash(SIGNATURE, 0, raw) != second.event_hash


def test_bytes_that_are_no_event_are_kept_with_what_is_wrong_with_them() -> None:
    unknown, short, twisted = read(
        b"12345678 whatever", tag("MarketCreated") + b"x", tag("ProposalVoteSubmitted") + b"\2" * 73
    )
    assert [event.event_type for event in (unknown, short, twisted)] == [UNDECODABLE] * 3
    assert [event.fault for event in (unknown, short, twisted)] == [
        "unknown discriminator",
        "wrong length",
        "malformed",
    ]
    assert unknown.raw == b"12345678 whatever"
    assert (short.data["event"], short.market_id, short.timestamp_s) == ("MarketCreated", None, 9)


def test_a_failed_transaction_has_no_events() -> None:
    told = arrival(encoded("ProposalAggregated", "kIIBbq"), err="x")
    transaction = read_arrival(told, PROGRAM, "webhook", Finality.CONFIRMED).transaction
    assert (transaction.events, transaction.err) == ((), "x")


@pytest.mark.parametrize(("at_s", "block_time_s", "expected"), [(-1, 9, 9), (2**62, 9, 9), (2**62, None, 0), (5, 9, 5)])
def test_a_time_beyond_any_calendar_falls_back_to_the_blocks(
    at_s: int, block_time_s: int | None, expected: int
) -> None:
    raw = encoded("ProposalAggregated", "kIIBbq", at_s)
    (event,) = read_arrival(
        arrival(raw, block_time_s=block_time_s), PROGRAM, "gap", Finality.CONFIRMED
    ).transaction.events
    assert event.timestamp_s == expected


def test_a_hash_that_is_no_text_is_shown_as_hex() -> None:
    raw = encoded("MarketResolved", "kkbhq")
    (event,) = read(raw.replace(b"Qm" + b"x" * 44, b"\xff" * 46))
    assert event.data["evidence_hash"] == "ff" * 46


def test_the_newer_claim_names_an_address_that_has_to_be_looked_up() -> None:
    kinds = dict(EVENT_FIELDS)[WinningsClaimed]
    (event,) = read(encoded("WinningsClaimed", kinds))
    assert unresolved_address(event) == base58_encode(b"\1" * 32)
    assert unresolved_address(dataclasses.replace(event, market_id=MARKET)) is None


def test_markets_hear_one_observation_each_and_every_vote() -> None:
    vote = encoded("ProposalVoteSubmitted", "kkbq")
    tally = encoded("ProposalAggregated", "kIIBbq")
    seen = ChainVoteSeen(SIGNATURE, USER, VoteType.PROPOSAL)
    assert list(effects_of(read(tally, vote, tally))) == [MarketEffect(MARKET, 77), MarketEffect(MARKET, 77, seen)]
    assert list(effects_of(read(b"12345678 whatever"))) == []
