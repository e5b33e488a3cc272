"""docs/configuration.md says what app/config.py says: every setting, its default and its description."""

from __future__ import annotations

import os
import re
import socket
from pathlib import Path

import pytest
from pydantic.fields import FieldInfo

from app.config import Settings

PAGE = Path(__file__).parents[2] / "docs" / "configuration.md"
ROW = re.compile(r"^\| `ZMART_(?P<name>[A-Z0-9_]+)` \| (?P<default>.*?) \| (?P<meaning>.*) \|$", re.MULTILINE)
COMPUTED = {"shards": "one a core, at most 16", "node_name": "the host's name"}
"""Defaults that depend on the machine, in words; each is held against the machine below."""


def rows() -> list[tuple[str, str, str]]:
    return [(row["name"].lower(), row["default"], row["meaning"]) for row in ROW.finditer(PAGE.read_text())]


def default_in_words(name: str, field: FieldInfo) -> str:
    if field.default_factory is not None:
        return COMPUTED[name]
    if field.default in (None, (), ""):
        return "unset"
    if isinstance(field.default, tuple):
        return f"`{','.join(field.default)}`"
    return f"`{str(field.default).lower() if isinstance(field.default, bool) else field.default}`"


def test_every_setting_stands_in_the_document_once_and_nothing_else_does() -> None:
    assert sorted(name for name, _, _ in rows()) == sorted(Settings.model_fields)


def test_defaults_and_meanings_are_those_of_the_class() -> None:
    expected = {
        (name, default_in_words(name, field), field.description) for name, field in Settings.model_fields.items()
    }
    assert set(rows()) == expected


@pytest.mark.parametrize(("cores", "shards"), [(1, 1), (2, 2), (16, 16), (64, 16)])
def test_there_is_one_shard_a_core_and_at_most_16(monkeypatch: pytest.MonkeyPatch, cores: int, shards: int) -> None:
    monkeypatch.delenv("ZMART_SHARDS", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: cores)
    assert Settings().shards == shards


def test_two_hosts_have_two_names(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ZMART_NODE_NAME", raising=False)
    monkeypatch.setattr(socket, "gethostname", lambda: "here")
    assert Settings().node_name == "here"
    with pytest.raises(ValueError, match="at least 1 character"):
        Settings(node_name="")


def test_production_needs_what_the_document_says_it_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("ZMART_")]:
        monkeypatch.delenv(name)
    (paragraph,) = [text for text in PAGE.read_text().split("\n\n") if text.startswith("`ZMART_ENV=production`")]
    with pytest.raises(ValueError, match="production needs") as refusal:
        Settings(env="production")
    refused = re.findall(r"ZMART_[A-Z_]+", refusal.value.errors()[0]["msg"])  # type: ignore[attr-defined]
    documented = re.findall(r"`(ZMART_[A-Z_]+)`", paragraph)
    assert sorted(documented) == sorted(refused)
