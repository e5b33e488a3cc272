"""Where a call comes from: the peer's address, or what a trusted proxy says it saw (T70)."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from urllib.parse import unquote

Networks = Sequence[IPv4Network | IPv6Network]
UNKNOWN = "unknown"
"""A peer without an address (a Unix socket, say); all of them are one caller."""
_IPV6_PREFIX = 64
"""What one subscriber has; by single addresses nobody could be limited."""
FORWARDED_LENGTH_MAX = 1_024


def origin(peer: str, forwarded: Sequence[str], proxies: Networks) -> str:
    """The address that a call is counted by.

    `peer` is grpc's `ipv4:1.2.3.4:5` or `ipv6:[::1]:5`. `forwarded` are the values of x-forwarded-for: only a trusted
    peer's are heard, and only the last address, which is the one that the proxy saw; what stands before it is what the
    client claims. Total: what cannot be read counts as the peer's own.
    """
    address = _peer_address(peer)
    if not forwarded or not _is_trusted(address, tuple(proxies)):
        return _subscriber(address)
    seen = forwarded[-1][-FORWARDED_LENGTH_MAX:].rsplit(",", 1)[-1].strip()
    return _subscriber(seen if _is_address(seen) else address)


def _peer_address(peer: str) -> str:
    kind, _, rest = unquote(peer).partition(":")
    if kind not in ("ipv4", "ipv6"):
        return UNKNOWN
    address = rest.rpartition(":")[0].strip("[]").partition("%")[0]
    return address if _is_address(address) else UNKNOWN


@lru_cache(maxsize=10_000)
def _is_address(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True


@lru_cache(maxsize=10_000)
def _is_trusted(address: str, proxies: tuple[IPv4Network | IPv6Network, ...]) -> bool:
    return address != UNKNOWN and any(_plain(address) in network for network in proxies)


@lru_cache(maxsize=10_000)
def _subscriber(address: str) -> str:
    """IPv4 as it is, IPv6 by its first 64 bits, an IPv4 address inside IPv6 as IPv4."""
    if address == UNKNOWN:
        return address
    plain = _plain(address)
    if isinstance(plain, IPv6Address):
        return str(ip_network((plain, _IPV6_PREFIX), strict=False))
    return str(plain)


def _plain(address: str) -> IPv4Address | IPv6Address:
    parsed = ip_address(address)
    return (parsed.ipv4_mapped or parsed) if isinstance(parsed, IPv6Address) else parsed
