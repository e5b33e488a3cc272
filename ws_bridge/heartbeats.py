"""HEARTBEAT and ping as one packet: clients that hold the same and are due together share the bytes."""

from __future__ import annotations

from functools import lru_cache

from ws_bridge import frames
from ws_bridge.frames import Position
from ws_bridge.packets import PING, Packet, joined, packet

SHARED_MAX = 32
"""Of one turn of the alarms there are a few: clients without a channel, and those of the markets that many follow."""


def heartbeat(held: tuple[tuple[str, Position], ...], now_s: float) -> Packet:
    """What shows a page, which does not see pings, that the line is alive, and the ping that finds dead ones."""
    return _encoded(held, int(now_s * 1_000))


@lru_cache(maxsize=SHARED_MAX)
def _encoded(held: tuple[tuple[str, Position], ...], at_ms: int) -> Packet:
    return joined([packet(frames.heartbeat(held, at_ms / 1_000)), PING])
