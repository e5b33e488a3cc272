"""What Prometheus hears of the bridge; fan-out is counted by tick and channel, for by client it would cost as much."""

from __future__ import annotations

import contextlib
from datetime import datetime

from prometheus_client import Counter, Gauge, Histogram

CONNECTIONS = Gauge("ws_connections", "Open WebSocket connections", multiprocess_mode="livesum")
SUBSCRIPTIONS = Gauge("ws_subscriptions", "Subscriptions, by kind of channel", ["kind"], multiprocess_mode="livesum")
PUBLISHED = Counter("ws_published_total", "Numbered messages read from the feed")
DELIVERED = Counter("ws_delivered_total", "Numbered messages handed to subscribers")
DELIVERED_BYTES = Counter("ws_delivered_bytes_total", "Bytes of their frames")
COALESCED = Counter("ws_coalesced_total", "Messages that shared a write with the one before")
CONFLATED = Counter("ws_conflated_total", "Unnumbered messages that a client did not get because it was behind")
CLOSES = Counter("ws_closes_total", "Connections that were closed by the bridge, by code", ["code"])
RECOVERIES = Counter("ws_recoveries_total", "Subscriptions by how they began: exact, snapshot", ["result"])
REJECTS = Counter("ws_rejects_total", "Connections that were not taken, by reason", ["reason"])
HISTORY_LOSSES = Counter("ws_history_losses_total", "Times at which every subscriber had to start over")
HISTORY_BYTES = Gauge("ws_history_bytes", "Messages kept for clients that come back", multiprocess_mode="livesum")
BACKLOG_HIGH_WATER = Gauge(
    "ws_backlog_high_water_bytes", "Most that one client had waiting in the last second", multiprocess_mode="livemax"
)
FANOUT_SECONDS = Histogram(
    "ws_fanout_seconds",
    "From reading a tick's messages to the last write",
    buckets=(0.001, 0.005, 0.02, 0.05, 0.1, 0.5, 2),
)
SOURCE_LAG_SECONDS = Histogram(
    "ws_source_lag_seconds",
    "From the commit of a message to its fan-out, of a batch's oldest",
    buckets=(0.01, 0.05, 0.1, 0.5, 2, 10, 60),
)
LOOP_LAG_SECONDS = Gauge("ws_loop_lag_seconds", "How late the last once-a-second look was", multiprocess_mode="livemax")
PING_RTT_SECONDS = Histogram(
    "ws_ping_rtt_seconds", "From a ping to the client's pong", buckets=(0.005, 0.02, 0.05, 0.1, 0.5, 2, 20)
)


def lagged(committed_at: str, now_s: float) -> None:
    """A batch of messages has been fanned out whose oldest was committed at this RFC 3339 time.

    Clocks of two machines may differ, so nothing is below zero; a time that cannot be read is the sender's mistake and
    no reason to end a bridge.
    """
    with contextlib.suppress(ValueError):
        SOURCE_LAG_SECONDS.observe(max(0.0, now_s - datetime.fromisoformat(committed_at).timestamp()))
