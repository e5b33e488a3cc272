"""Challenges: issued once, answered at most once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
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
        sites: Sequence[Site],
        nonces: NonceStore,
        now: Callable[[], datetime],
        new_nonce: Callable[[], str],
        spare: NonceStore | None = None,
    ) -> None:
        """`sites` are one for each domain, at least one; the first is for callers who name none.

        `now` is aware and UTC; `new_nonce` gives at least 16 unguessable letters and digits.

        `spare` has the nonces that are issued while `nonces` is away. Each nonce says by its first letter which store
        has it, so that no nonce is ever in two: a write that seemed to fail may have been done.
        """
        self._sites = {site.domain: site for site in sites}
        self._site = sites[0]
        self._stores = {FIRST: nonces} | ({SPARE: spare} if spare is not None else {})
        self._now = now
        self._new_nonce = new_nonce

    async def issue(self, address: Wallet, domain: str | None = None) -> Challenge | Denial:
        """A fresh challenge for a wallet under one of our domains; addresses that nobody can sign for get none."""
        if not can_sign(key_bytes(address)):
            return Denial.ADDRESS_CANNOT_SIGN
        site = self._site if domain is None else self._sites.get(domain)
        if site is None:
            return Denial.SIGN_IN_DOMAIN_UNKNOWN
        try:
            return await self._issue(FIRST, site, address)
        except NonceStoreUnavailable:
            if SPARE not in self._stores:
                raise
            return await self._issue(SPARE, site, address)

    async def _issue(self, mark: str, site: Site, address: Wallet) -> Challenge:
        now = self._now().replace(microsecond=0)
        nonce = mark + self._new_nonce()
        message = sign_in.write(sign_in.challenge(site, address, nonce, now))
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
        denial = sign_in.judge(issued, message, self._site_of(issued), address, self._now())
        return denial or sign_in.signed(message, signature, address)

    def _site_of(self, issued: str) -> Site:
        """The site that a challenge was issued for; the first one, which it will differ from, when that is gone."""
        text = sign_in.read(issued)
        return self._sites.get(text.domain, self._site) if text is not None else self._site
