"""Challenges: issued once, answered at most once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from domain.ids import Wallet, key_bytes
from identity import sign_in
from identity.curve import can_sign
from identity.denials import Denial
from identity.ports import NonceStore, NonceStoreUnavailable
from identity.sign_in import Site

FIRST, SPARE = "r", "p"
"""First letters of nonces: Redis and PostgreSQL, in a real deployment."""


@dataclass(frozen=True, slots=True)
class Challenge:
    """What the wallet gets: the text to sign, the nonce in it, and when (aware, UTC) it stops being accepted."""

    message: str
    nonce: str
    expires_at: datetime


class Challenges:
    """Issues challenges and takes their answers. Both raise `NonceStoreUnavailable` when the store is away."""

    def __init__(
        self,
        site: Site,
        nonces: NonceStore,
        now: Callable[[], datetime],
        new_nonce: Callable[[], str],
        spare: NonceStore | None = None,
    ) -> None:
        """`now` is aware and UTC; `new_nonce` gives at least 16 unguessable letters and digits.

        `spare` has the nonces that are issued while `nonces` is away. Each nonce says by its first letter which store
        has it, so that no nonce is ever in two: a write that seemed to fail may have been done.
        """
        self._site = site
        self._stores = {FIRST: nonces} | ({SPARE: spare} if spare is not None else {})
        self._now = now
        self._new_nonce = new_nonce

    async def issue(self, address: Wallet) -> Challenge | Denial:
        """A fresh challenge for a wallet; addresses that nobody can sign for get none."""
        if not can_sign(key_bytes(address)):
            return Denial.ADDRESS_CANNOT_SIGN
        try:
            return await self._issue(FIRST, address)
        except NonceStoreUnavailable:
            if SPARE not in self._stores:
                raise
            return await self._issue(SPARE, address)

    async def _issue(self, mark: str, address: Wallet) -> Challenge:
        now = self._now().replace(microsecond=0)
        nonce = mark + self._new_nonce()
        message = sign_in.write(sign_in.challenge(self._site, address, nonce, now))
        expires_at = now + sign_in.LIFETIME
        await self._stores[mark].put(nonce, address, message, int(expires_at.timestamp()))
        return Challenge(message, nonce, expires_at)

    async def redeem(self, address: Wallet, message: str, signature: str) -> Denial | None:
        """Why `address` has not signed in by this answer; None if it has.

        The nonce is used up before anything else is judged, so a failed answer cannot be tried again.
        """
        text = sign_in.read(message)
        if text is None or text.nonce is None:
            return Denial.SIGN_IN_MESSAGE_MALFORMED
        store = self._stores.get(text.nonce[:1])
        issued = None if store is None else await store.take(text.nonce, address)
        if issued is None:
            return Denial.NONCE_UNKNOWN
        denial = sign_in.judge(issued, message, self._site, address, self._now())
        return denial or sign_in.signed(message, signature, address)
