"""Log lines that are ours, and none that are not: the vectors of CI 7.2 and C3, and 20,000 random call trees."""

import base64
import random

import pytest

from chain.logs import DataLine, LogFlag, ParsedLog, parse_log
from tests.support.call_trees import OURS, random_log

A, B = OURS, "TokenkegQfeZyiNwAJbNbGKPFXCWuBvf9Ss623VQ5DA"
RAW = bytes(range(16))
DATA = "Program data: " + base64.b64encode(RAW).decode()
TREES = 20_000


def call(program: str, *inside: str, depth: int = 1) -> list[str]:
    return [f"Program {program} invoke [{depth}]", *inside, f"Program {program} success"]


TEXT = DATA.removeprefix("Program data: ")
VECTORS: dict[str, tuple[list[str], int, set[LogFlag]]] = {
    "one event": (call(A, DATA), 1, set()),
    "called by another program": (call(B, *call(A, DATA, depth=2), DATA), 1, set()),
    "after calling another program": (call(A, *call(B, DATA, depth=2), DATA), 1, set()),
    "a call that is only said": (call(B, f"Program log: Program {A} invoke [2]", DATA), 0, set()),
    "base64 in a log line": (call(A, f"Program log: {TEXT}"), 0, set()),
    "the same line twice": (call(A, DATA, DATA), 2, set()),
    "two instructions": ([*call(A, DATA), *call(A, DATA)], 2, set()),
    "two fields": (call(A, f"{DATA} {TEXT}"), 0, set()),
    "no field": (call(A, "Program data: "), 0, set()),
    "an event before the cut": ([f"Program {A} invoke [1]", DATA, "Log truncated"], 1, {LogFlag.TRUNCATED}),
    "a cut inside": (call(A, DATA, "Log truncated"), 1, {LogFlag.TRUNCATED}),
    "a foreign line after the cut": (call(A, "Log truncated", DATA), 0, {LogFlag.TRUNCATED}),
    "a cut that is only said": (call(A, "Program log: Log truncated", DATA), 1, set()),
    "outside of any call": ([DATA], 0, set()),
    "the end is missing": ([f"Program {A} invoke [1]", DATA], 1, {LogFlag.STACK_MISMATCH}),
    "the start is missing": ([DATA, f"Program {A} success"], 0, {LogFlag.STACK_MISMATCH}),
    "another program ends": ([f"Program {A} invoke [1]", f"Program {B} success", DATA], 0, {LogFlag.STACK_MISMATCH}),
    "a depth is skipped": ([f"Program {A} invoke [2]", DATA, f"Program {A} success"], 0, {LogFlag.STACK_MISMATCH}),
    "bad base64": (call(A, "Program data: a"), 0, {LogFlag.BAD_BASE64}),
    "base64 with a letter outside": (call(A, "Program data: QUJD!"), 0, {LogFlag.BAD_BASE64}),
    "base64 with stray bits": (call(A, "Program data: QUJ="), 0, {LogFlag.BAD_BASE64}),
    "bad base64 of another program": (call(B, "Program data: a"), 0, set()),
    "a good line after bad base64": (call(A, "Program data: a", DATA), 1, {LogFlag.BAD_BASE64}),
    "a caught failure": (
        call(A, f"Program {B} invoke [2]", DATA, f"Program {B} failed: bad\nluck", DATA),
        1,
        set(),
    ),
    "a line break in a message": (call(B, f"Program log: x\nProgram {A} invoke [2]", DATA), 0, set()),
    "a line break at the end": (call(B, f"Program {A} invoke [2]\n", DATA), 0, set()),
    "runtime lines": (
        call(A, f"Program {A} consumed 5 of 200000 compute units", f"Program return: {A} {TEXT}", DATA),
        1,
        set(),
    ),
    "nothing": ([], 0, set()),
}


@pytest.mark.parametrize("name", VECTORS, ids=lambda name: str(name).replace(" ", "-"))
def test_a_vector_gives_its_events_and_flags(name: str) -> None:
    lines, count, flags = VECTORS[name]
    assert parse_log(lines, A, has_failed=False) == ParsedLog(
        tuple(DataLine(ordinal, RAW) for ordinal in range(count)), frozenset(flags)
    )


def test_a_failed_transaction_has_no_events_though_its_log_has() -> None:
    parsed = parse_log(call(A, DATA), A, has_failed=True)
    assert parsed == ParsedLog((), frozenset({LogFlag.FAILED}))
    assert not parsed.is_ok


def test_an_incomplete_log_says_so() -> None:
    assert parse_log(call(A, "Log truncated"), A, has_failed=False).is_incomplete
    assert parse_log([f"Program {A} invoke [1]"], A, has_failed=False).is_incomplete
    bad = parse_log(call(A, "Program data: a"), A, has_failed=False)
    assert (bad.is_ok, bad.is_incomplete) == (False, False)
    assert parse_log(call(A, DATA), A, has_failed=False).is_ok


def test_random_call_trees_give_exactly_our_own_lines() -> None:
    rng, seen = random.Random(20_240_607), 0
    for _ in range(TREES):
        log = random_log(rng)
        parsed = parse_log(log.lines, A, has_failed=False)
        assert [line.raw for line in parsed.lines] == log.ours, log.lines
        assert [line.ordinal for line in parsed.lines] == list(range(len(log.ours)))
        assert parsed.is_ok, log.lines
        seen += len(log.ours)
    assert seen > TREES // 2


def test_truncated_call_trees_give_a_prefix_of_our_own_lines() -> None:
    """A parser that only skips the marker accepts foreign lines here; the second count keeps the generator honest."""
    rng, cuts, fooled = random.Random(7), 0, 0
    for _ in range(TREES):
        whole = random_log(rng)
        kept = whole.cut(rng.randint(200, 2_000))
        if not kept.is_cut:
            continue
        cuts += 1
        parsed = parse_log(kept.lines, A, has_failed=False)
        found = [line.raw for line in parsed.lines]
        assert found == kept.ours == whole.ours[: len(found)], kept.lines
        assert LogFlag.TRUNCATED in parsed.flags
        skipping = parse_log([line for line in kept.lines if line != "Log truncated"], A, has_failed=False)
        fooled += any(line.raw not in whole.ours for line in skipping.lines)
    assert cuts > TREES // 10
    assert fooled > 0


def test_a_log_that_ends_early_gives_a_prefix_of_our_own_lines() -> None:
    rng = random.Random(11)
    for _ in range(2_000):
        log = random_log(rng)
        cut = rng.randint(1, len(log.lines) - 1)
        found = [line.raw for line in parse_log(log.lines[:cut], A, has_failed=False).lines]
        assert found == log.ours[: len(found)]
