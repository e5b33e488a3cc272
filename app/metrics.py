"""What Prometheus hears of how the gRPC server is joined; imported by its wiring alone."""

from __future__ import annotations

from prometheus_client import Counter, Gauge

DEPENDENCY_BREAKER_OPEN = Gauge(
    "zmart_dependency_breaker_open",
    "1 while a gRPC server's breaker of the database, the inbox's part of it or Redis is open.",
    ["dependency"],
    multiprocess_mode="livemax",
)
LIMITS_LOCAL = Gauge(
    "zmart_limits_local",
    "gRPC servers whose last count of a caller's calls was their own, because Redis did not answer.",
    multiprocess_mode="livesum",
)
LIMIT_FALLBACKS = Counter("zmart_limit_fallbacks", "Counts of callers' calls that a server took by itself.")
