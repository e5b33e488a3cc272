"""Room for a process's Python frames in one piece, so that no call has to map memory.

CPython 3.11 keeps frames in chunks of 16 KiB. A call that does not fit maps another chunk and its return unmaps it, so
whoever works at the end of one pays 13 us for each call instead of 0.05, for as long as it stays at that depth. Shards
did, for ten calls of each vote: a third of their CPU was the kernel's, for nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import ParamSpec, TypeVar

_P = ParamSpec("_P")
_R = TypeVar("_R")

ROOM_SLOTS = 2**16
"""512 KiB of addresses for one frame, so its chunk is of 1 MiB, with as much left for all frames that follow: ten times
what Python's limit of 1,000 calls takes. Only what is used ever becomes memory."""


def in_one_piece(run: Callable[_P, _R], *args: _P.args, **named: _P.kwargs) -> _R:
    """Call `run`; whatever it calls, and every process that is forked inside, has its frames in one chunk."""
    return run(*args, **named)


in_one_piece.__code__ = in_one_piece.__code__.replace(co_stacksize=ROOM_SLOTS)
