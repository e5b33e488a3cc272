"""Rows and values: exact both ways, and narrow only where nothing else moved."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

import pytest

from domain.deadlines import ClockName, Deadline
from domain.intents import Action, Intent
from domain.journal import Change
from domain.lifecycle import Lifecycle
from domain.market import Market
from domain.merkle import Frontier, leaf_hash
from domain.tally import Tally
from storage import codec
from tests.support.markets import NOON_S, market, observed, wallet
from tests.support.storage import counted, new_id

MOVED_BY_VOTES = {"proposal", "dispute", "version", "market_seq", "votes_seq", "proposal_log", "dispute_log"}
OTHERS = sorted({field.name for field in fields(Market)} - MOVED_BY_VOTES - {"market_id"})


def other_value(name: str, value: Any) -> Any:
    """Something else of the same kind."""
    match value:
        case Lifecycle():
            return Lifecycle.CANCELLED
        case bool():
            return not value
        case int():
            return value + 1
        case str():
            return value + "x"
        case None:
            return Intent(new_id(), market().market_id, Action.APPROVE, 1) if name == "intent" else True
    raise AssertionError(f"{name} is of a new kind")


@pytest.mark.parametrize("name", OTHERS)
def test_a_change_of_any_other_field_is_written_whole(name: str) -> None:
    change = counted(market(), yes=1)
    moved: dict[str, Any] = {name: other_value(name, getattr(change.market, name))}
    assert codec.moves_counts_only(change)
    assert not codec.moves_counts_only(replace(change, market=replace(change.market, **moved)))


def test_a_change_that_does_not_tell_what_was_before_is_written_whole() -> None:
    assert not codec.moves_counts_only(replace(counted(market(), yes=1), before=None))


def test_the_narrow_row_holds_every_count() -> None:
    leaf, log = leaf_hash(b"a"), Frontier().plus_all([leaf_hash(b"a")] * 3)
    after = replace(
        market(),
        version=2,
        market_seq=3,
        votes_seq=4,
        proposal=Tally(5, 6, 7, 8),
        dispute=Tally(2**65, 9, 10, 11),
        dispute_log=log,
    )
    row = codec.counts_row(Change(after, Deadline(NOON_S, ClockName.WALL), is_new=False))
    counts = tuple(str(n) for n in (2, 3, 4, 5, 6, 7, 8, 2**65, 9, 10, 11))
    assert row[1:] == (*counts, "0", "", "3", f"{log.peaks[0].hex()}{leaf.hex()}", str(NOON_S), "wall")


@pytest.mark.parametrize("size", [0, 1, 7, 8, 1000])
def test_a_frontier_is_its_peaks_in_a_row(size: int) -> None:
    log = Frontier().plus_all(leaf_hash(bytes([number % 256])) for number in range(size))
    row = codec.market_json(Change(replace(market(), dispute_log=log), None, is_new=True))
    assert row["dispute_log_size"] == str(size)
    assert row["dispute_log_peaks"] == "\\x" + b"".join(log.peaks).hex()
    assert len(row["dispute_log_peaks"]) == 2 + 64 * size.bit_count()


@pytest.mark.parametrize("account", [None, observed(), observed(final_outcome=True, total_volume=2**64 - 1)])
def test_an_account_survives_being_kept_as_json(account: Any) -> None:
    assert codec.observed_of(codec.observed_json(account)) == account


def test_unset_times_are_null_and_the_age_never_is() -> None:
    row = codec.market_json(Change(replace(market(), created_at_s=0, creator=wallet(2)), None, is_new=True))
    assert (row["approved_at"], row["next_attempt_at"], row["next_deadline_at"]) == (None, None, None)
    assert row["created_at"] == "1970-01-01T00:00:00+00:00"


def test_rows_become_columns_of_cells() -> None:
    assert codec.columns([("a", None, ""), ("b", "c", "")]) == ["a\x1fb", "\x1e\x1fc", "\x1f"]


@pytest.mark.parametrize("cell", ["a\x1fb", "\x1e", "a\x1eb"])
def test_a_cell_cannot_smuggle_in_another(cell: str) -> None:
    with pytest.raises(ValueError, match="separator"):
        codec.columns([("fine", "1"), (cell, "2")])
