"""What a sealed frame holds, whichever Python release wrote it."""

from __future__ import annotations

import hmac
import socket
import subprocess
import sys
from typing import Any

import pytest

from actors import frames, hardening
from actors.messages import Batch, WrongOwner
from domain.commands import CastVote, FireDeadline
from domain.ids import MarketId, Wallet
from domain.tally import Tally, VoteType

SECRET = b"s" * hardening.SECRET_BYTES_MIN
FRAMES = frames.SealedPickle(SECRET, frames.ADMITTED_PACKAGES)


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
    with pytest.raises(frames.RefusedFrame):
        FRAMES.loads(hmac.digest(SECRET, body, "sha256") + body)


def test_values_travel_whole_with_fields_in_any_number() -> None:
    vote = CastVote(MarketId("m"), "id", Wallet("w"), VoteType.DISPUTE, True, 2**70, None, 7)
    message = (Batch("gateway", 3, {1: 2}, (vote,)), WrongOwner(), FireDeadline(MarketId("m")), Tally(1, 2, 3, 4))
    assert FRAMES.loads(FRAMES.dumps(message)) == message


def test_no_message_is_written_out_for_a_log_line_that_nobody_reads() -> None:
    script = f"""
from actors.hardening import harden
harden({SECRET!r})
from thespian.system.transport import ReceiveEnvelope, TransmitIntent

class Message:
    def __repr__(self):
        raise SystemExit("written out")

print(TransmitIntent("there", Message()).identify(), ReceiveEnvelope("here", Message()).identify())
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.count("Message") == 2
