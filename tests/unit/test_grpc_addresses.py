"""Where a call comes from: total over whatever peers and proxies say."""

from __future__ import annotations

from ipaddress import ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grpc_server.addresses import UNKNOWN, origin

PROXIES = [ip_network("127.0.0.0/8"), ip_network("10.1.0.0/16"), ip_network("::1/128")]


@pytest.mark.parametrize(
    ("peer", "forwarded", "address"),
    [
        ("ipv4:8.8.8.8:5000", [], "8.8.8.8"),
        ("ipv4:8.8.8.8:5000", ["1.2.3.4"], "8.8.8.8"),  # not a proxy of ours: it claims
        ("ipv4:127.0.0.1:5000", [], "127.0.0.1"),
        ("ipv4:127.0.0.1:5000", ["1.2.3.4"], "1.2.3.4"),
        ("ipv4:10.1.7.7:5000", ["6.6.6.6, 1.2.3.4"], "1.2.3.4"),  # what stands before it is the client's claim
        ("ipv4:10.1.7.7:5000", ["1.2.3.4", "5.6.7.8"], "5.6.7.8"),
        ("ipv4:10.1.7.7:5000", ["1.2.3.4, nonsense"], "10.1.7.7"),
        ("ipv6:%5B::1%5D:5000", ["2001:db8:1:2:3:4:5:6"], "2001:db8:1:2::/64"),
        ("ipv6:[2001:db8:1:2:ffff::1]:5000", [], "2001:db8:1:2::/64"),
        ("ipv6:[::ffff:8.8.8.8]:5000", [], "8.8.8.8"),
        ("ipv6:[fe80::1%25eth0]:5000", [], "fe80::/64"),
        ("unix:/run/socket", ["1.2.3.4"], UNKNOWN),
        ("", [], UNKNOWN),
    ],
)
def test_a_call_is_counted_by_the_last_address_that_somebody_trusted_saw(
    peer: str, forwarded: list[str], address: str
) -> None:
    assert origin(peer, forwarded, PROXIES) == address


@given(st.text(), st.lists(st.text()))
def test_nothing_that_is_sent_breaks_it(peer: str, forwarded: list[str]) -> None:
    assert origin(peer, forwarded, PROXIES)
    assert origin("ipv4:127.0.0.1:1", forwarded, PROXIES)
