"""What a sealed frame holds, whichever Python release wrote it."""

from __future__ import annotations

import hmac
import socket
from typing import Any

import pytest

from actors import hardening
from domain.tally import VoteType

SECRET = b"s" * hardening.SECRET_BYTES_MIN
FRAMES = hardening._SealedPickle(SECRET, hardening.ADMITTED_PACKAGES)


def by_attribute(member: Any, _protocol: int) -> tuple[Any, ...]:
    """How Python 3.11.2 takes a member of an enum apart."""
    return getattr, (type(member), member.name)


def by_own_name(member: Any, _protocol: int) -> str:
    """How it does that with the enums of `socket`, which are inside every address."""
    return str(member.name)


def test_an_enum_travels_as_class_and_value_whatever_python_would_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(VoteType, "__reduce_ex__", by_attribute)
    monkeypatch.setattr(socket.AddressFamily, "__reduce_ex__", by_own_name)
    message = (VoteType.DISPUTE, socket.AF_INET)
    assert FRAMES.loads(FRAMES.dumps(message)) == message


@pytest.mark.parametrize("name", ["builtins\ngetattr", "socket\nAF_INET", "socket\nsocket", "socket\nos.system"])
def test_the_other_spellings_stay_outside(name: str) -> None:
    body = f"c{name}\n.".encode()
    with pytest.raises(hardening.RefusedFrame):
        FRAMES.loads(hmac.digest(SECRET, body, "sha256") + body)
