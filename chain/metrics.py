"""What Prometheus hears of the way to the chain."""

from __future__ import annotations

from prometheus_client import Counter, Gauge

RPC_CALLS = Counter("zmart_rpc_calls", "Requests to Solana's RPC, by how they ended.", ["method", "outcome"])
BREAKER_OPEN = Gauge(
    "zmart_breaker_open",
    "1 while the circuit breaker of an endpoint is open in any process.",
    ["endpoint"],
    multiprocess_mode="livemax",
)
TRANSITION_BREAKER_OPEN = Gauge(
    "zmart_transition_breaker_open",
    "1 while no new state transition is signed, because the chain failed three times in a row.",
    multiprocess_mode="livemax",
)
