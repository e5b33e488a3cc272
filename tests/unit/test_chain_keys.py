"""Key files: read strictly, made privately, never shown."""

import json
import pickle
from pathlib import Path

import pytest
from solders.keypair import Keypair

from chain.keys import KeyFileError, SigningKey, ensure_key, ensure_local_keys, load_key


def test_a_key_file_of_solanas_tools_is_read(tmp_path: Path) -> None:
    pair = Keypair()
    path = tmp_path / "id.json"
    path.write_text(json.dumps(list(bytes(pair))))
    assert load_key(path).wallet == str(pair.pubkey())


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        ("", "not JSON"),
        ("{}", "not an array"),
        ("[1, 2, 3]", "not an array"),
        (json.dumps([256] * 64), "not an array"),
        (json.dumps([True] * 64), "not an array"),
        (json.dumps([1] * 64), "public half"),
        ("[" + "1," * 5000 + "1]", "longer than"),
    ],
)
def test_a_malformed_key_file_is_refused_without_its_content(tmp_path: Path, content: str, fault: str) -> None:
    path = tmp_path / "id.json"
    path.write_text(content)
    with pytest.raises(KeyFileError, match=fault) as refused:
        load_key(path)
    assert not content or content not in str(refused.value)


def test_a_missing_key_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(KeyFileError, match=r"nobody\.json"):
        load_key(tmp_path / "nobody.json")


def test_a_new_key_is_private_and_stays_the_same(tmp_path: Path) -> None:
    first = ensure_key(tmp_path / "keys" / "admin.json")
    assert (tmp_path / "keys" / "admin.json").stat().st_mode & 0o777 == 0o600
    assert ensure_key(tmp_path / "keys" / "admin.json").wallet == first.wallet
    assert [path.name for path in (tmp_path / "keys").iterdir()] == ["admin.json"]


def test_the_roles_of_a_data_dir_have_distinct_keys(tmp_path: Path) -> None:
    keys = ensure_local_keys(tmp_path)
    assert len({keys.admin.wallet, keys.backend.wallet, keys.fee_wallet.wallet}) == 3
    assert ensure_local_keys(tmp_path).admin.wallet == keys.admin.wallet


def test_a_signing_key_shows_its_wallet_only() -> None:
    pair = Keypair()
    key = SigningKey(pair)
    for shown in (repr(key), str(key), f"{key}", repr([key])):
        assert str(pair) not in shown
        assert str(pair.pubkey()) in shown
    with pytest.raises(TypeError, match="never leaves"):
        pickle.dumps(key)
