"""Service keys as settings give them: in plain text, or as hashes from which nobody gets a key."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from app.config import Settings
from app.identities import doorkeeper, known_service_key
from identity import ANONYMOUS, Caller, Tier

KEY = "9f" * 32
HASHED = "sha256:" + hashlib.sha256(KEY.encode()).hexdigest()


def given(folder: Path, keys: str) -> Settings:
    return Settings.model_validate({"data_dir": folder, "service_keys": keys})


@pytest.mark.parametrize("keys", [KEY, HASHED, f"another,{HASHED}"])
def test_a_key_lets_in_whether_it_or_its_hash_is_named(tmp_path: Path, keys: str) -> None:
    door = doorkeeper(given(tmp_path, keys))
    assert door.admit(None, KEY) == Caller(Tier.SERVICE)
    for stranger in (HASHED, HASHED.removeprefix("sha256:"), KEY + " ", ""):
        assert door.admit(None, stranger) == ANONYMOUS


def test_a_server_that_has_hashes_alone_has_no_key_to_write_down(tmp_path: Path) -> None:
    assert known_service_key(given(tmp_path, HASHED)) == ""
    assert known_service_key(given(tmp_path, f"{HASHED},{KEY}")) == KEY


@pytest.mark.parametrize("wrong", ["sha256:", "sha256:" + "f" * 63, "sha256:" + "F" * 64, HASHED + "0"])
def test_half_a_hash_is_refused_rather_than_taken_for_a_key(tmp_path: Path, wrong: str) -> None:
    with pytest.raises(ValueError, match="64 lower-case hex digits"):
        given(tmp_path, wrong)
