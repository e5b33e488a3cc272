"""Python's cycle collector in a process that holds tens of thousands of sockets."""

from __future__ import annotations

import gc

NEW_OBJECTS_MAX = 50_000
"""Before a collection of the young; the default of 700 runs it several times in every fan-out."""


def calm_collector() -> None:
    """Look for cycles rarely, and never among what was there at the start: a full look at 10,000 sockets takes 0.5 s.

    What fan-out makes is freed by counting references; only ended connections leave cycles behind.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(NEW_OBJECTS_MAX, 20, 100)
