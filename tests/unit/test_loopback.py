"""Ports are handed out once: whoever listens later does not meet another who was given the same one."""

from __future__ import annotations

import secrets
import socket
import subprocess
import sys

import pytest

from app.embedded import free_port, free_port_base, loopback

CHOOSE = """
import sys
from app.embedded import free_port, loopback
loopback.PORT_MIN, loopback.PORT_MAX = int(sys.argv[1]), int(sys.argv[2])
try:
    print(free_port(), flush=True)
except OSError:
    print("none", flush=True)
"""


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> range:
    """Three ports to choose from, where no other test and no outgoing connection takes any."""
    base = 15_000 + 3 * secrets.randbelow(1_500)
    ports = range(base, base + 3)
    monkeypatch.setattr(loopback, "PORT_MIN", ports[0])
    monkeypatch.setattr(loopback, "PORT_MAX", ports[-1])
    return ports


def chosen_elsewhere(few: range) -> str:
    command = [sys.executable, "-c", CHOOSE, str(few[0]), str(few[-1])]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def test_a_port_is_given_to_one_only_though_nobody_listens_on_it_yet(few: range) -> None:
    mine = free_port()
    assert mine in few
    others = {free_port() for _ in range(2)}
    assert len(others | {mine}) == 3
    with pytest.raises(OSError, match="no free port"):
        free_port()
    assert chosen_elsewhere(few) == "none"


def test_a_port_that_was_given_to_a_process_is_free_again_after_its_end(few: range) -> None:
    assert int(chosen_elsewhere(few)) in few
    assert {free_port() for _ in few} == set(few)


def test_a_row_of_ports_that_is_not_free_as_a_whole_is_not_held_in_part(few: range) -> None:
    with socket.create_server(("127.0.0.1", few[2])):
        with pytest.raises(OSError, match="in a row"):
            free_port_base(3)
        assert {free_port(), free_port()} == {few[0], few[1]}
