"""What a sealed frame may hold, whichever Python release wrote it."""

from __future__ import annotations

import hmac
import pickle
import socket

import pytest

from actors import hardening

SECRET = b"s" * hardening.SECRET_BYTES_MIN


def opened(body: bytes) -> object:
    """What comes out of a frame with this body and a good seal."""
    frames = hardening._SealedPickle(SECRET, hardening.ADMITTED_PACKAGES)
    return frames.loads(hmac.digest(SECRET, body, "sha256") + body)


def by_own_name(module: str, name: str) -> bytes:
    """A pickle of something that is named in a module, as Python 3.11.2 writes members of socket's enums."""
    return f"c{module}\n{name}\n.".encode()


@pytest.mark.parametrize("member", [socket.AF_INET, socket.AF_INET6, socket.SOCK_STREAM, socket.SOCK_DGRAM])
def test_the_enums_of_an_address_are_read_in_either_spelling(member: socket.AddressFamily | socket.SocketKind) -> None:
    assert opened(pickle.dumps(member, protocol=5)) is member
    assert opened(by_own_name("socket", member.name)) is member


@pytest.mark.parametrize("name", ["socket", "create_server", "os.system", "AF_UNIX"])
def test_nothing_else_of_that_module_is_admitted(name: str) -> None:
    with pytest.raises(hardening.RefusedFrame):
        opened(by_own_name("socket", name))
