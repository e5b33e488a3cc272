"""Tokens, keys and service keys: who is calling, and every way to be nobody."""

import base64
import json
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from domain.ids import Wallet
from identity import (
    ANONYMOUS,
    Caller,
    Denial,
    Doorkeeper,
    ServiceKeys,
    Tier,
    Tokens,
    UnusableKey,
    hash_service_key,
    load,
    load_or_create,
)
from identity import tokens as tokens_module
from identity.keys import SigningKey, TokenKey, secret_key, signing_key

WALLET = Wallet("6s8bbbCS7oNYNnTUHgrPDHG4jqaSrD6MSxQSPVR1rxw")
KEY = signing_key(Ed25519PrivateKey.generate())
OLD_KEY = signing_key(Ed25519PrivateKey.generate())


class Issuer:
    """Tokens on a clock that the test moves."""

    def __init__(self, key: TokenKey = KEY, older: tuple[TokenKey, ...] = ()) -> None:
        self.now_s = 1_000
        self.tokens = Tokens(key, older, "zmart", "zmart-api", lambda: self.now_s, lambda: "id")


@pytest.fixture
def issuer() -> Issuer:
    return Issuer()


def claims(**changes: Any) -> dict[str, Any]:
    whole = {"iss": "zmart", "aud": "zmart-api", "sub": WALLET, "iat": 1_000, "exp": 2_000, "tier": "wallet"}
    return {name: value for name, value in {**whole, **changes}.items() if value is not None}


def signed(changed: dict[str, Any], key: SigningKey = KEY, kid: str | None = None) -> str:
    return jwt.encode(changed, key.private, "EdDSA", {"kid": kid or key.key_id})


def unsigned(header: dict[str, str], body: dict[str, Any]) -> str:
    parts = [base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode() for part in (header, body)]
    return ".".join([*parts, ""])


def test_a_wallets_token_speaks_for_the_wallet_until_it_expires(issuer: Issuer) -> None:
    issued = issuer.tokens.issue(WALLET, Tier.WALLET, ttl_s=900)
    assert issued.expires_at_s == 1_900
    assert issuer.tokens.verify(issued.token) == Caller(Tier.WALLET, WALLET, 1_900)
    issuer.now_s = 1_899
    assert issuer.tokens.verify(issued.token) == Caller(Tier.WALLET, WALLET, 1_900)
    issuer.now_s = 1_900
    assert issuer.tokens.verify(issued.token) is Denial.TOKEN_EXPIRED


def test_an_operators_token_is_of_the_admin_tier_and_has_no_wallet(issuer: Issuer) -> None:
    issued = issuer.tokens.issue(None, Tier.ADMIN)
    assert issuer.tokens.verify(issued.token) == Caller(Tier.ADMIN, None, issued.expires_at_s)


def test_a_verified_token_is_checked_once(issuer: Issuer, monkeypatch: pytest.MonkeyPatch) -> None:
    token = issuer.tokens.issue(WALLET, Tier.WALLET).token
    first = issuer.tokens.verify(token)

    def never(*args: object, **kwargs: object) -> None:
        raise AssertionError("checked again")

    monkeypatch.setattr(jwt, "decode", never)
    assert issuer.tokens.verify(token) == first


def test_more_tokens_than_can_be_remembered_are_still_verified(issuer: Issuer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tokens_module, "REMEMBERED_MAX", 2)
    issued = [signed(claims(jti=str(number))) for number in range(5)]
    for token in (*issued, *issued):
        assert issuer.tokens.verify(token) == Caller(Tier.WALLET, WALLET, 2_000)


def test_tokens_of_the_key_before_are_valid_after_a_rotation_and_those_of_a_retired_key_are_not() -> None:
    token = Issuer(OLD_KEY).tokens.issue(WALLET, Tier.WALLET).token
    assert Issuer(KEY, (OLD_KEY,)).tokens.verify(token) == Caller(Tier.WALLET, WALLET, 1_900)
    assert Issuer(KEY).tokens.verify(token) is Denial.TOKEN_KEY_UNKNOWN


def test_an_hs256_token_is_verified_by_its_secret_and_beside_tokens_of_other_algorithms() -> None:
    shared = secret_key("s" * 32)
    both = Issuer(shared, (KEY,)).tokens
    token = both.issue(WALLET, Tier.WALLET).token
    assert jwt.get_unverified_header(token) == {"alg": "HS256", "kid": shared.key_id, "typ": "JWT"}
    assert "s" * 32 not in repr(shared)
    for each in (token, Issuer(KEY).tokens.issue(WALLET, Tier.WALLET).token):
        assert both.verify(each) == Caller(Tier.WALLET, WALLET, 1_900)
    assert Issuer(KEY).tokens.verify(token) is Denial.TOKEN_ALGORITHM_REFUSED
    assert Issuer(secret_key("t" * 32)).tokens.verify(token) is Denial.TOKEN_KEY_UNKNOWN


def test_no_token_chooses_the_algorithm_of_its_key() -> None:
    shared = secret_key("s" * 32)
    both = Issuer(shared, (KEY,)).tokens
    forged = jwt.encode(claims(), KEY.public.public_bytes_raw(), "HS256", {"kid": KEY.key_id})
    assert both.verify(forged) is Denial.TOKEN_ALGORITHM_REFUSED
    assert both.verify(signed(claims(), OLD_KEY, shared.key_id)) is Denial.TOKEN_ALGORITHM_REFUSED


HOSTILE: dict[str, tuple[Callable[[], str], Denial]] = {
    "empty": (lambda: "", Denial.TOKEN_MALFORMED),
    "no JWT": (lambda: "a.b.c", Denial.TOKEN_MALFORMED),
    "no JSON": (lambda: "YWJj.YWJj.YWJj", Denial.TOKEN_MALFORMED),
    "huge": (lambda: "x" * 10_000, Denial.TOKEN_MALFORMED),
    "alg none": (lambda: unsigned({"alg": "none", "kid": KEY.key_id}, claims()), Denial.TOKEN_ALGORITHM_REFUSED),
    "alg none, no key": (lambda: unsigned({"alg": "none"}, claims()), Denial.TOKEN_ALGORITHM_REFUSED),
    "the public key as a secret": (
        lambda: jwt.encode(claims(), KEY.public.public_bytes_raw(), "HS256", {"kid": KEY.key_id}),
        Denial.TOKEN_ALGORITHM_REFUSED,
    ),
    "unknown key": (lambda: signed(claims(), OLD_KEY), Denial.TOKEN_KEY_UNKNOWN),
    "another key under our name": (lambda: signed(claims(), OLD_KEY, KEY.key_id), Denial.TOKEN_SIGNATURE_INVALID),
    "expired": (lambda: signed(claims(exp=1_000)), Denial.TOKEN_EXPIRED),
    "no exp": (lambda: signed(claims(exp=None)), Denial.TOKEN_CLAIM_MISSING),
    "no iss": (lambda: signed(claims(iss=None)), Denial.TOKEN_CLAIM_MISSING),
    "no aud": (lambda: signed(claims(aud=None)), Denial.TOKEN_CLAIM_MISSING),
    "no sub": (lambda: signed(claims(sub=None)), Denial.TOKEN_CLAIM_MISSING),
    "no tier": (lambda: signed(claims(tier=None)), Denial.TOKEN_CLAIM_MISSING),
    "wrong iss": (lambda: signed(claims(iss="evil")), Denial.TOKEN_ISSUER_MISMATCH),
    "wrong aud": (lambda: signed(claims(aud="other")), Denial.TOKEN_AUDIENCE_MISMATCH),
    "sub is no wallet": (lambda: signed(claims(sub="operator")), Denial.TOKEN_CLAIM_INVALID),
    "another wallet than sub": (lambda: signed(claims(wallet="1" * 32)), Denial.TOKEN_CLAIM_INVALID),
    "unknown tier": (lambda: signed(claims(tier="root")), Denial.TOKEN_CLAIM_INVALID),
    "a tier that no token has": (lambda: signed(claims(tier="service")), Denial.TOKEN_CLAIM_INVALID),
    "exp is no integer": (lambda: signed(claims(exp=1e12)), Denial.TOKEN_CLAIM_INVALID),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_a_hostile_token_speaks_for_nobody(issuer: Issuer, case: str) -> None:
    make, denial = HOSTILE[case]
    assert issuer.tokens.verify(make()) is denial


def test_a_changed_letter_in_a_token_is_noticed(issuer: Issuer) -> None:
    head, body, signature = issuer.tokens.issue(WALLET, Tier.WALLET).token.split(".")
    changed = f"{head}.{body}.{'A' if signature[0] != 'A' else 'B'}{signature[1:]}"
    assert issuer.tokens.verify(changed) is Denial.TOKEN_SIGNATURE_INVALID


# --- keys -------------------------------------------------------------------------------------------------------------


def test_a_key_file_is_made_once_and_only_its_owner_reads_it(tmp_path: Path) -> None:
    path = tmp_path / "token.pem"
    made = load_or_create(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert load_or_create(path).key_id == made.key_id == load(path).key_id
    assert [file.name for file in tmp_path.iterdir()] == ["token.pem"]


def test_a_key_that_others_may_read_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "token.pem"
    load_or_create(path)
    path.chmod(0o640)
    with pytest.raises(UnusableKey, match="others may read it"):
        load(path)


def test_a_file_that_is_no_ed25519_key_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "token.pem"
    path.touch(0o600)
    with pytest.raises(UnusableKey, match="not a PEM private key"):
        load_or_create(path)
    rsa = generate_private_key(65_537, 2_048)
    path.write_bytes(rsa.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    with pytest.raises(UnusableKey, match="not an Ed25519 key"):
        load(path)


# --- the door ---------------------------------------------------------------------------------------------------------


def test_a_live_service_key_is_known_and_others_are_nobody() -> None:
    keys = ServiceKeys([hash_service_key("new key"), hash_service_key("old key")])
    assert keys.caller("new key") == Caller(Tier.SERVICE)
    assert keys.caller("old key") == Caller(Tier.SERVICE)
    assert keys.caller("") is None
    assert keys.caller("new key ") is None
    assert ServiceKeys([]).caller("new key") is None


def test_the_headers_say_who_is_calling(issuer: Issuer) -> None:
    door = Doorkeeper(issuer.tokens, ServiceKeys([hash_service_key("service key")]))
    token = issuer.tokens.issue(WALLET, Tier.WALLET).token
    assert door.admit(None, None) == ANONYMOUS
    assert door.admit(None, "wrong") == ANONYMOUS
    assert door.admit(None, "service key") == Caller(Tier.SERVICE)
    assert door.admit(f"Bearer {token}", None) == Caller(Tier.WALLET, WALLET, 1_900)
    assert door.admit(f"bearer {token}", "service key") == Caller(Tier.WALLET, WALLET, 1_900)
    assert door.admit(f"Basic {token}", None) is Denial.AUTHORIZATION_MALFORMED
    assert door.admit("", None) is Denial.AUTHORIZATION_MALFORMED
    assert door.admit("Bearer ", "service key") is Denial.TOKEN_MALFORMED


def test_a_token_that_was_issued_here_is_known_when_it_comes_back(
    issuer: Issuer, monkeypatch: pytest.MonkeyPatch
) -> None:
    issued = issuer.tokens.issue(WALLET, Tier.WALLET, ttl_s=900)

    def checked(*_: object, **__: object) -> None:
        raise AssertionError("its signature was checked")

    monkeypatch.setattr(jwt, "decode", checked)
    assert issuer.tokens.verify(issued.token) == Caller(Tier.WALLET, WALLET, 1_900, "id")
    issuer.now_s = 1_900
    assert issuer.tokens.verify(issued.token) is Denial.TOKEN_EXPIRED
