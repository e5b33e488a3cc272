"""What Prometheus hears of the gRPC server: gRFC A66's names, in the form that OpenTelemetry gives them there."""

from __future__ import annotations

from prometheus_client import Counter, Gauge, Histogram

A66_SECONDS = (
    *(0.00001, 0.00005, 0.0001, 0.0003, 0.0006, 0.0008, 0.001, 0.002, 0.003, 0.004, 0.005, 0.006, 0.008, 0.01, 0.013),
    *(0.016, 0.02, 0.025, 0.03, 0.04, 0.05, 0.065, 0.08, 0.1, 0.13, 0.16, 0.2, 0.25, 0.3, 0.4, 0.5, 0.65, 0.8),
    *(1, 2, 5, 10, 20, 50, 100),
)
A66_BYTES = (1024, 2048, 4096, 16384, 65536, 262144, 1048576, 4194304, 16777216)

CALLS_STARTED = Counter("grpc_server_call_started", "grpc.server.call.started: calls that came in.", ["grpc_method"])
CALL_S = Histogram(
    "grpc_server_call_duration_seconds",
    "grpc.server.call.duration: from the request's arrival to the status.",
    ["grpc_method", "grpc_status"],
    buckets=A66_SECONDS,
)
RECEIVED_BYTES = Histogram(
    "grpc_server_call_rcvd_total_compressed_message_size_bytes",
    "grpc.server.call.rcvd_total_compressed_message_size: request messages of a call; nothing here is compressed.",
    ["grpc_method"],
    buckets=A66_BYTES,
)
SENT_BYTES = Histogram(
    "grpc_server_call_sent_total_compressed_message_size_bytes",
    "grpc.server.call.sent_total_compressed_message_size: response messages of a call; nothing here is compressed.",
    ["grpc_method"],
    buckets=A66_BYTES,
)
LIMITED_CALLS = Counter(
    "zmart_limited_calls",
    "Calls that were held against their caller's limit, by what became of them.",
    ["tier", "outcome"],
)
IN_FLIGHT = Gauge("zmart_grpc_calls_in_flight", "Calls under way.", multiprocess_mode="livesum")
