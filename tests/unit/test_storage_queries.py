"""Statements by name: parsed, all of them used, and none invented."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import storage
from storage.queries import STATEMENTS, parse
from storage.session import KEPT_STATEMENTS

SOURCES = list(Path(storage.__file__).parent.glob("*.py"))
STRING = re.compile(r'"([a-z_]+)"')
ASKED = re.compile(
    r'\b(?:sql|_?fetch|_fetched|_execute|_write|_write_whole|_mark)\((?:(?:self\.)?_?connection, )?"([a-z_]+)"'
)


def test_a_file_is_split_at_its_names() -> None:
    text = "-- about the file\n-- name: one\nSELECT 1;\n\n-- name: two\n-- why\nSELECT 2\nFROM t;\n"
    assert parse(text) == {"one": "SELECT 1", "two": "-- why\nSELECT 2\nFROM t"}


def test_a_statement_may_stand_inside_a_later_one() -> None:
    assert parse("-- name: a\nSELECT 1\n-- name: b\n{a} WHERE x;")["b"] == "SELECT 1 WHERE x"


def test_a_name_that_is_used_twice_is_refused() -> None:
    with pytest.raises(ValueError, match="named a"):
        parse("-- name: a\nSELECT 1;\n-- name: a\nSELECT 2;")


def test_every_statement_is_used() -> None:
    code = "\n".join(path.read_text("utf-8") for path in SOURCES)
    parts = set(re.findall(r"\{(\w+)\}", (Path(storage.__file__).parent / "queries.sql").read_text("utf-8")))
    unused = set(STATEMENTS) - set(STRING.findall(code)) - parts
    assert not unused


def test_every_statement_that_is_asked_for_exists() -> None:
    asked = {name for path in SOURCES for name in ASKED.findall(path.read_text("utf-8"))}
    assert len(asked) > 30, "the pattern finds the places"
    assert asked <= set(STATEMENTS)


def test_every_statement_fits_the_cache_of_a_session() -> None:
    assert len(STATEMENTS) < KEPT_STATEMENTS["statement_cache_size"]
