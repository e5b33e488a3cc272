"""What the fuzzer calls: each target takes bytes, and an assertion or any exception is a find."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from chain.decoder import decode_event
from chain.logs import parse_log
from domain.ids import base58_encode
from domain.indexed import Finality
from indexer.arrivals import Arrival, BodyMalformed, Hint, Unreadable, items_of, names_program, read_item
from indexer.reading import effects_of, read_arrival
from storage import codec, index_codec
from tests.fuzz.calls import calls, frames
from tests.fuzz.sessions import session

PROGRAM = base58_encode(b"\7" * 32)
OTHER = base58_encode(b"\6" * 32)
DATA = "Program data: "
DEPTHS = {f"invoke [{depth}]" for depth in range(1, 1_000)}
LETTERS = set("123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz")


def webhook(data: bytes) -> None:
    """A webhook's body, all the way to rows."""
    try:
        items = items_of(data)
    except BodyMalformed:
        return
    for item in items:
        read = read_item(item)
        assert isinstance(read, Arrival | Hint | Unreadable)
        if isinstance(read, Arrival):
            _to_rows(read)


def _to_rows(arrival: Arrival) -> None:
    names_program(arrival, PROGRAM)
    transaction = read_arrival(arrival, PROGRAM, "webhook", Finality.CONFIRMED).transaction
    assert not (transaction.err and transaction.events), "a failed transaction has no events"
    rows = [index_codec.event_row(event) for event in transaction.events]
    _check_storable([index_codec.transaction_row(transaction)])
    if rows:
        _check_storable(rows)
    list(effects_of(transaction.events))


def _check_storable(rows: list[tuple[str | None, ...]]) -> None:
    for column in codec.columns(rows):
        assert "\0" not in column, "PostgreSQL refuses it"
        column.encode()


def log(data: bytes) -> None:
    """A log, one message a line: what is accepted stands in our frame by a second, slower reading."""
    messages = data.decode("utf-8", "replace").split("\n")
    parsed = parse_log(messages, PROGRAM, has_failed=False)
    assert [line.ordinal for line in parsed.lines] == list(range(len(parsed.lines)))
    assert len(parsed.lines) <= len(_ours(messages))
    for line in parsed.lines:
        decode_event(line.raw)
    assert parse_log(messages, PROGRAM, has_failed=True).lines == ()
    assert parse_log(messages, OTHER, has_failed=False).lines == () or OTHER in data.decode("utf-8", "replace")


def _ours(messages: list[str]) -> list[str]:
    """Data lines whose last open call, by name alone, is of our program."""
    frames: list[str] = []
    found = []
    for message in messages:
        kind, name, what = [*message.split(" ", 2), "", ""][:3]
        if message.startswith(DATA):
            found += [message] if frames and frames[-1] == PROGRAM else []
        elif kind == "Program" and _is_id(name) and what in DEPTHS:
            frames.append(name)
        elif kind == "Program" and _is_id(name) and (what == "success" or what.startswith("failed: ")):
            frames = frames[:-1]
    return found


def _is_id(word: str) -> bool:
    return 32 <= len(word) <= 44 and set(word) <= LETTERS


TARGETS: Mapping[str, Callable[[bytes], None]] = {
    "webhook": webhook,
    "log": log,
    "frames": frames,
    "calls": calls,
    "session": session,
}
