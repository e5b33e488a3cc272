"""Who may call, as settings describe it: service keys in plain text or as hashes, and the sites of sign-in."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from app.config import Settings
from app.identities import doorkeeper, known_service_key, site_of
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


@pytest.mark.parametrize(
    ("domain", "uri"),
    [
        ("localhost:8080", "http://localhost:8080"),
        ("127.0.0.1", "http://127.0.0.1"),
        ("[::1]:80", "http://[::1]:80"),
        ("zmart.example", "https://zmart.example"),
        ("localhost.example:8443", "https://localhost.example:8443"),
    ],
)
def test_a_site_is_spoken_to_by_https_unless_it_is_on_the_own_machine(domain: str, uri: str) -> None:
    assert site_of(domain, "devnet").uri == uri


@pytest.mark.parametrize("wrong", ["https://zmart.example", "zmart.example/", "zmart example", ""])
def test_a_domain_has_neither_scheme_nor_path(wrong: str) -> None:
    assert Settings.model_validate({"sign_in_domain": "a.example, b.example:1"}).sign_in_domain == (
        "a.example",
        "b.example:1",
    )
    with pytest.raises(ValueError, match="sign_in_domain"):
        Settings.model_validate({"sign_in_domain": wrong})
