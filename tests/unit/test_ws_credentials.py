"""Where tokens and channels are found in a handshake."""

from __future__ import annotations

import logging

import pytest

from tests.support.feed import MARKET
from ws_bridge.credentials import Handshake, read_handshake, select_subprotocol, transport_logger


@pytest.mark.parametrize(
    ("path", "channels"),
    [
        ("/ws", ()),
        ("/ws?channels=", ()),
        ("/ws?channels=a,b", ("a", "b")),
        ("/ws?channels=a,,b&channels=c", ("a", "b", "c")),
        ("/ws?channels=market%3Aabc", ("market:abc",)),
        (f"/markets/{MARKET}/voting", (f"votes_{MARKET}",)),
        (f"/markets/{MARKET}/voting?channels=a", (f"votes_{MARKET}", "a")),
    ],
)
def test_paths_name_their_channels(path: str, channels: tuple[str, ...]) -> None:
    assert read_handshake(path, [], []) == Handshake(channels, None)


@pytest.mark.parametrize("path", ["/", "/wss", "/ws/", "/markets//voting", "/markets/a/b/voting", "/markets/a"])
def test_other_paths_are_not_ours(path: str) -> None:
    assert read_handshake(path, [], []) is None


def test_a_query_with_too_many_fields_is_not_ours() -> None:
    assert read_handshake("/ws?" + "&".join("a=1" for _ in range(201)), [], []) is None


def test_the_header_comes_before_the_subprotocol_and_that_before_the_query() -> None:
    protocols = ["zmart.v1", "bearer.b"]
    found = [
        read_handshake("/ws?token=c", ["Bearer a"], protocols),
        read_handshake("/ws?token=c", ["Basic x"], protocols),
        read_handshake("/ws?token=c", [], ["zmart.v1"]),
    ]
    assert [each.token for each in found if each] == ["a", "b", "c"]


def test_the_token_is_never_echoed_as_a_subprotocol_nor_printed() -> None:
    assert select_subprotocol(["bearer.secret", "zmart.v1"]) == "zmart.v1"
    assert select_subprotocol(["bearer.secret"]) is None
    assert "secret" not in repr(read_handshake("/ws?token=secret", [], []))


def test_a_failed_handshake_is_logged_by_its_kind_alone(caplog: pytest.LogCaptureFixture) -> None:
    logger = transport_logger()
    with caplog.at_level(logging.DEBUG):
        logger.debug("> Authorization: Bearer secret")
        try:
            raise ValueError("expected a token, got bearer.secret")
        except ValueError:
            logger.error("opening handshake failed", exc_info=True)
    assert caplog.messages == ["opening handshake failed: ValueError"]
    assert "secret" not in caplog.text
