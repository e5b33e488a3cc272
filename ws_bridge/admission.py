"""Who may have a connection: how many there are in all, of one address and of one wallet, and how fast they come."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network

Networks = Sequence[IPv4Network | IPv6Network]
LOOPBACK: Networks = (ip_network("127.0.0.0/8"), ip_network("::1/128"))


@dataclass(frozen=True, slots=True)
class AdmissionLimits:
    """How many connections one process takes."""

    connections_max: int = 20_000
    per_address_max: int = 50
    per_wallet_max: int = 10
    accepts_per_s: float = 500.0
    """Handshakes beyond this (and a second's worth at once) are answered with 503 before anything else is done."""


class Bucket:
    """Tokens that come back with time: `per_s` each second, at most `burst` together."""

    def __init__(self, per_s: float, burst: float, now_s: float) -> None:
        self._per_s, self._burst = per_s, burst
        self._left, self._at_s = burst, now_s

    def take(self, now_s: float) -> bool:
        """One token, if there is one."""
        self._left = min(self._burst, self._left + max(0.0, now_s - self._at_s) * self._per_s)
        self._at_s = now_s
        if self._left < 1:
            return False
        self._left -= 1
        return True


class Admission:
    """Counts what is open. Whoever enters leaves once; nothing is kept of who has gone."""

    def __init__(self, limits: AdmissionLimits, now_s: float) -> None:
        self._limits = limits
        self._accepts = Bucket(limits.accepts_per_s, limits.accepts_per_s, now_s)
        self._open = 0
        self._addresses: Counter[str] = Counter()
        self._wallets: Counter[str] = Counter()

    def may_shake_hands(self, now_s: float) -> bool:
        """Whether one more handshake is worth its work now."""
        return self._accepts.take(now_s)

    def enter(self, address: str | None) -> str | None:
        """Take a connection, or say why not; None for an address that is not counted."""
        if self._open >= self._limits.connections_max:
            return "over capacity"
        if address is not None and self._addresses[address] >= self._limits.per_address_max:
            return "too many connections of this address"
        self._open += 1
        if address is not None:
            self._addresses[address] += 1
        return None

    def leave(self, address: str | None) -> None:
        """A connection that was taken is gone."""
        self._open -= 1
        if address is not None:
            _less(self._addresses, address)

    def enter_wallet(self, wallet: str) -> bool:
        """Whether the wallet may have one more connection, which is then counted."""
        if self._wallets[wallet] >= self._limits.per_wallet_max:
            return False
        self._wallets[wallet] += 1
        return True

    def leave_wallet(self, wallet: str) -> None:
        """One of the wallet's connections is gone."""
        _less(self._wallets, wallet)


def counted_address(peer: str, forwarded: Sequence[str], proxies: Networks) -> str | None:
    """The address that a connection counts for; None for one of this machine without a proxy between (decisions A8).

    A trusted proxy's X-Forwarded-For is believed, its last address only, which is the one that the proxy saw; others
    may write there what they like.
    """
    seen = forwarded[-1].rsplit(",", 1)[-1].strip() if forwarded and _is_in(peer, proxies) else peer
    return None if _is_in(seen, LOOPBACK) or not _is_address(seen) else seen


def _is_in(address: str, networks: Networks) -> bool:
    return _is_address(address) and any(ip_address(address) in network for network in networks)


def _is_address(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True


def _less(counter: Counter[str], key: str) -> None:
    counter[key] -= 1
    if counter[key] <= 0:
        del counter[key]
