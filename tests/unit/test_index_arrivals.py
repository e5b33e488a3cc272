"""Every shape that a transaction comes in, and whatever else somebody may send (traps section 2)."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from domain.ids import base58_encode
from indexer.arrivals import (
    ITEMS_MAX,
    Arrival,
    BodyMalformed,
    Hint,
    Unreadable,
    fault_of_body,
    items_of,
    names_program,
    read_item,
)

QUIET = settings(suppress_health_check=[HealthCheck.too_slow], deadline=None, max_examples=60)
SIGNATURE = base58_encode(bytes(range(64)))
PROGRAM = base58_encode(b"\7" * 32)
LOGS = [f"Program {PROGRAM} invoke [1]", f"Program {PROGRAM} success"]


def raw(**changes: Any) -> dict[str, Any]:
    """A raw webhook's item."""
    meta = {"err": None, "logMessages": LOGS, "loadedAddresses": {"writable": ["W"], "readonly": ["R"]}}
    message = {"accountKeys": ["A", PROGRAM], "instructions": []}
    item = {
        "blockTime": 1_762_510_000,
        "indexWithinBlock": 3,
        "meta": meta,
        "slot": 77,
        "transaction": {"message": message, "signatures": [SIGNATURE]},
        "version": "legacy",
    }
    return {**item, **changes}


def specified(**changes: Any) -> dict[str, Any]:
    """An item in the specification's shape."""
    inner = {"signature": SIGNATURE, "slot": 77, "timestamp": 5, "blockTime": 6, "instructions": [], "logs": LOGS}
    return {"transaction": {**inner, **changes}, "accountData": [], "nativeTransfers": [], "tokenTransfers": []}


ENHANCED = {"signature": SIGNATURE, "slot": 77, "timestamp": 5, "type": "UNKNOWN", "transactionError": None}
WHOLE = Arrival(SIGNATURE, 77, 3, 1_762_510_000, None, tuple(LOGS), ("A", PROGRAM, "W", "R"))


@pytest.mark.parametrize(
    ("item", "expected"),
    [
        (raw(), WHOLE),
        (raw(indexWithinBlock=None, blockTime=None), Arrival(SIGNATURE, 77, None, None, None, tuple(LOGS), WHOLE.keys)),
        (raw(meta={"err": None, "logMessages": None}), Hint(SIGNATURE, 77)),
        (raw(meta={"logMessages": LOGS}), Hint(SIGNATURE, 77)),
        (raw(meta=None), Hint(SIGNATURE, 77)),
        (ENHANCED, Hint(SIGNATURE, 77)),
        ({"signature": SIGNATURE}, Hint(SIGNATURE, None)),
        (specified(), Arrival(SIGNATURE, 77, None, 6, None, tuple(LOGS))),
        (specified(logs=None), Hint(SIGNATURE, 77)),
        (specified(slot=None), Hint(SIGNATURE, None)),
        (specified(logs=[*LOGS, "Log truncated"]), Hint(SIGNATURE, 77)),
        (specified(blockTime="x"), Arrival(SIGNATURE, 77, None, None, None, tuple(LOGS))),
    ],
)
def test_an_item_is_read_by_the_shape_that_it_has(item: dict[str, Any], expected: Arrival | Hint) -> None:
    assert read_item(item) == expected


def test_a_failed_transaction_is_known_by_its_error_and_without_one_by_its_log() -> None:
    failed = raw(meta={"err": {"InstructionError": [0, {"Custom": 6007}]}, "logMessages": LOGS})
    read = read_item(failed)
    assert isinstance(read, Arrival) and read.err == '{"InstructionError": [0, {"Custom": 6007}]}'
    read = read_item(specified(logs=[LOGS[0], f"Program {PROGRAM} failed: custom program error: 0x1777"]))
    assert isinstance(read, Arrival) and read.err == "a call failed"


@pytest.mark.parametrize(
    "item",
    [
        {},
        {"transaction": []},
        {"transaction": {}},
        {"transaction": ["AAEC", "base64"], "slot": 1},
        {"signature": 5},
        {"signature": "0" * 88},
        {"signature": "1" * 63},
        {"signature": base58_encode(bytes(range(1, 64)))},
        {"signature": SIGNATURE, "slot": -1},
        {"signature": SIGNATURE, "slot": 2**63},
        {"signature": SIGNATURE, "slot": True},
        {"signature": SIGNATURE, "slot": 1.5},
        {"signature": SIGNATURE, "slot": "77"},
        raw(slot=None),
        raw(indexWithinBlock=-1),
        raw(indexWithinBlock=2**31),
        raw(blockTime=253_402_300_800),
        raw(transaction={"signatures": []}),
        raw(transaction={"signatures": {"0": SIGNATURE}}),
        raw(meta={"err": None, "logMessages": "Program"}),
        raw(meta={"err": None, "logMessages": [None]}),
        raw(meta={"err": None, "logMessages": ["x"] * 10_001}),
        specified(logs=[1]),
    ],
)
def test_an_item_of_no_known_shape_is_named_as_such(item: dict[str, Any]) -> None:
    assert isinstance(read_item(item), Unreadable)


def test_an_error_that_is_nested_too_deep_is_no_error_of_ours() -> None:
    deep: Any = None
    for _ in range(100_000):
        deep = [deep]
    assert isinstance(read_item(raw(meta={"err": deep, "logMessages": LOGS})), Unreadable)


@pytest.mark.parametrize("message", [None, [], {"accountKeys": None}, {"accountKeys": [{"pubkey": "A"}, 5, "x" * 45]}])
def test_accounts_are_taken_as_far_as_they_are_told(message: Any) -> None:
    read = read_item(
        raw(transaction={"signatures": [SIGNATURE], "message": message}, meta={"err": None, "logMessages": []})
    )
    assert isinstance(read, Arrival)
    assert read.keys == (("A",) if isinstance(message, dict) and message["accountKeys"] else ())


def test_an_array_and_an_object_are_bodies() -> None:
    assert items_of(json.dumps([raw(), ENHANCED]).encode()) == [raw(), ENHANCED]
    assert items_of(json.dumps(raw()).encode()) == [raw()]
    assert items_of(b"[]") == []
    assert len(items_of(b"[" + b",".join([b"{}"] * ITEMS_MAX) + b"]")) == ITEMS_MAX


@QUIET
@given(st.binary(max_size=200))
def test_no_bytes_break_the_look_at_a_body(body: bytes) -> None:
    try:
        items = items_of(body)
    except BodyMalformed as fault:
        assert fault_of_body(body) == str(fault)
        return
    assert all(isinstance(read_item(item), Arrival | Hint | Unreadable) for item in items)


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from([*raw(), *ENHANCED, "signatures", "logs", "err"]), inner, max_size=4)
    ),
    max_leaves=12,
)


@QUIET
@given(st.dictionaries(st.sampled_from([*raw(), *ENHANCED]), _JSON), st.booleans())
def test_no_values_break_the_reading_of_an_item(values: dict[str, Any], is_known: bool) -> None:
    read = read_item({**(raw() if is_known else {}), **values})
    assert isinstance(read, Arrival | Hint | Unreadable)


def test_a_transaction_of_others_is_told_apart() -> None:
    assert names_program(WHOLE, PROGRAM)
    assert not names_program(WHOLE, base58_encode(b"\6" * 32))
    assert names_program(Arrival(SIGNATURE, 1, None, None, None, tuple(LOGS)), PROGRAM)
