"""Page tokens: what we signed for these conditions is read, everything else is refused."""

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.ids import MarketId
from grpc_server.page_tokens import LIFETIME_S, PageTokens
from grpc_server.ports import Position
from grpc_server.problems import Invalid, Rejected, Violation

LAST = Position(1_800_000_007, MarketId("1" * 31 + "8"))
CONDITIONS = "ListMarkets state="


def tokens(secret: bytes = b"s" * 32, now_s: int = 0) -> PageTokens:
    return PageTokens(secret, lambda: now_s)


def refused(reader: PageTokens, token: str, conditions: str = CONDITIONS) -> None:
    with pytest.raises(Rejected) as caught:
        reader.read(token, conditions)
    assert isinstance(caught.value.problem, Violation)
    assert caught.value.problem.invalid is Invalid.PAGE_TOKEN_INVALID


def test_a_token_leads_on_under_the_same_conditions() -> None:
    token = tokens().issue(LAST, CONDITIONS)
    assert tokens().read(token, CONDITIONS) == LAST
    assert token.replace("-", "").replace("_", "").isalnum()


def test_no_token_is_the_first_page() -> None:
    assert tokens().read("", CONDITIONS) is None


def test_changed_conditions_are_refused() -> None:
    refused(tokens(), tokens().issue(LAST, CONDITIONS), CONDITIONS + "ACTIVE")


def test_another_servers_token_is_refused() -> None:
    refused(tokens(b"t" * 32), tokens().issue(LAST, CONDITIONS))


def test_a_token_expires() -> None:
    token = tokens().issue(LAST, CONDITIONS)
    assert tokens(now_s=LIFETIME_S - 1).read(token, CONDITIONS) == LAST
    refused(tokens(now_s=LIFETIME_S), token)


def test_every_changed_bit_and_every_cut_is_noticed() -> None:
    sealed = tokens().issue(LAST, CONDITIONS)
    raw = base64.urlsafe_b64decode(sealed + "=" * (-len(sealed) % 4))
    for bit in range(len(raw) * 8):
        changed = bytearray(raw)
        changed[bit // 8] ^= 1 << (bit % 8)
        refused(tokens(), base64.urlsafe_b64encode(changed).rstrip(b"=").decode())
    for length in range(1, len(sealed)):
        refused(tokens(), sealed[:length])


@given(st.text(min_size=1, max_size=600))
def test_any_other_text_is_refused(text: str) -> None:
    refused(tokens(), text)


def test_a_short_secret_is_no_secret() -> None:
    with pytest.raises(ValueError, match="32 bytes"):
        PageTokens(b"short", lambda: 0)
