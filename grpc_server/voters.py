"""The wallets that a bulk request names: read, checked and remembered, because they come again with every market."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

from domain.ids import Wallet, key_bytes
from grpc_server import translate
from grpc_server.problems import Rejected
from identity import Denial

KEPT_MAX = 65_536
"""Wallets remembered, about 16 MB of them; one that is not costs 4 us to read and 5 to 110 to check."""


class Voters:
    """Who may be named as a voter: only keys that could sign, for others nobody can ever prove or claim anything."""

    def __init__(self, can_sign: Callable[[bytes], bool], kept_max: int = KEPT_MAX) -> None:
        self._can_sign = can_sign
        self.wallet = lru_cache(kept_max)(self._checked)
        """The wallet of a `user_pubkey`; rejects with ADDRESS_MALFORMED or ADDRESS_CANNOT_SIGN, each time anew."""

    def _checked(self, text: str) -> Wallet:
        wallet = translate.address(text, "user_pubkey")
        if not self._can_sign(key_bytes(wallet)):
            raise Rejected(Denial.ADDRESS_CANNOT_SIGN)
        return wallet
