"""Who may be named as a voter."""

from __future__ import annotations

import os

import pytest
from solders.pubkey import Pubkey

from domain.ids import base58_encode, key_bytes
from grpc_server.problems import Invalid, Rejected, Violation
from grpc_server.voters import Voters
from identity import Denial, can_sign
from identity.curve import SMALL_ORDER_YS
from tests.support.grpc_parts import Person


class Check:
    """The real check, counted."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self, public_key: bytes) -> bool:
        self.count += 1
        return can_sign(public_key)


def refused(voters: Voters, text: str) -> object:
    with pytest.raises(Rejected) as caught:
        voters.wallet(text)
    return caught.value.problem


def test_a_wallet_is_checked_once_and_only_so_many_are_remembered() -> None:
    check = Check()
    voters = Voters(check, kept_max=2)
    wallets = [Person().wallet for _ in range(3)]
    for wallet in (wallets[0], wallets[0], wallets[1], wallets[2], wallets[0]):
        assert voters.wallet(wallet) == wallet
    assert check.count == 4


def test_what_nobody_can_sign_for_is_no_voter() -> None:
    off_curve = next(key for key in iter(lambda: os.urandom(32), b"") if not can_sign(key))
    pda = Pubkey.find_program_address([b"market"], Pubkey.default())[0]
    small = [y.to_bytes(32, "little") for y in SMALL_ORDER_YS]
    voters = Voters(can_sign)
    for key in (off_curve, bytes(pda), bytes(32), *small):
        assert refused(voters, base58_encode(key)) is Denial.ADDRESS_CANNOT_SIGN


@pytest.mark.parametrize("text", ["", "nobody", "0OIl", "1" * 31, "x" * 10_000])
def test_what_is_no_address_names_its_field(text: str) -> None:
    problem = refused(Voters(can_sign), text)
    assert isinstance(problem, Violation)
    assert (problem.invalid, problem.field) == (Invalid.ADDRESS_MALFORMED, "user_pubkey")


def test_the_fast_check_of_the_curve_agrees_with_our_own() -> None:
    """The server hands in Solana's own; both must say the same of every 32 bytes."""
    keys = [os.urandom(32) for _ in range(100)] + [key_bytes(Person().wallet) for _ in range(20)]
    for key in keys:
        assert can_sign(key, lambda raw: Pubkey.from_bytes(raw).is_on_curve()) == can_sign(key)
