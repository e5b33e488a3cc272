"""Python's cycle collector in a process that answers many: a full look stops them all."""

from __future__ import annotations

import gc

NEW_OBJECTS_MAX = 50_000
"""Before a collection of the young, where tens of thousands of sockets hear of everything: the default of 700 runs it
several times in every fan-out."""
NEW_OBJECTS_OF_CALLS_MAX = 10_000
"""The same where calls leave some objects in cycles each, ten to a webhook: such a look takes 5 ms."""


def calm_collector(new_objects_max: int = NEW_OBJECTS_MAX) -> None:
    """Look for cycles rarely, and never among what was there at the start.

    A full look takes 0.5 s at 10,000 sockets of the bridge. In the gRPC server it took 90 ms, every 2.2 s under 200
    webhooks a second; and the looks at the young, each 700 objects by default, were a tenth of its time and of a
    shard's under votes. What fan-out and calls make is freed by counting references, but for a few cycles.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(new_objects_max, 20, 100)
