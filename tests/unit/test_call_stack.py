"""Where Python keeps its frames: a call at the end of a chunk maps memory, and inside one piece none does."""

from __future__ import annotations

import resource

from app.call_stack import in_one_piece

DEPTHS, CALLS = 250, 200
"""A chunk of 16 KiB holds about a hundred frames, so among these depths is the end of one."""


def leaf(number: int) -> int:
    return number


def calls(number: int) -> int:
    return leaf(number)


def faults_of_calls(depth: int) -> int:
    """How often the kernel had to bring memory while calls were made so many frames below here."""
    if depth:
        return faults_of_calls(depth - 1)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for number in range(CALLS):
        calls(number)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before


def most_faults() -> int:
    return max(faults_of_calls(depth) for depth in range(DEPTHS))


def test_at_some_depth_every_call_has_the_kernel_bring_memory() -> None:
    assert most_faults() >= CALLS


def test_in_one_piece_there_is_no_such_depth() -> None:
    in_one_piece(faults_of_calls, DEPTHS)
    assert in_one_piece(most_faults) < CALLS // 2


def test_what_runs_in_one_piece_gets_its_arguments_and_gives_its_result() -> None:
    assert in_one_piece(divmod, 17, 5) == (3, 2)
    assert in_one_piece(sorted, [2, 3, 1], reverse=True) == [3, 2, 1]
