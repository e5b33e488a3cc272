"""What tracing adds to the proxy's configuration: a span for each request, and the cluster that takes them."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import urlsplit

OTLP_PORT = 4318
SEND_TIMEOUT = "2s"


def traced(collector: str | None) -> dict[str, str]:
    """The template's TRACING and COLLECTOR as one line each; empty while nothing is traced."""
    if collector is None:
        return {"TRACING": "", "COLLECTOR": ""}
    url = urlsplit(collector)
    return {
        "TRACING": f"tracing: {json.dumps(_tracer(collector.rstrip('/')))}",
        "COLLECTOR": f"- {json.dumps(_cluster(url.hostname or '', url.port or OTLP_PORT))}",
    }


def _tracer(collector: str) -> dict[str, Any]:
    """Every request is a span, under the caller's `traceparent` if it sent one.

    Envoy's own tag of the address has the query in it, where a WebSocket's token may be: it is cut to its first
    character, and the path is told by a tag of ours.
    """
    uri = {"uri": f"{collector}/v1/traces", "cluster": "collector", "timeout": SEND_TIMEOUT}
    config = {
        "@type": "type.googleapis.com/envoy.config.trace.v3.OpenTelemetryConfig",
        "http_service": {"http_uri": uri},
        "service_name": "zmart-envoy",
    }
    return {
        "provider": {"name": "envoy.tracers.opentelemetry", "typed_config": config},
        "max_path_tag_length": 1,
        "custom_tags": [{"tag": "url.path", "value": "%PATH(NQ:ORIG_OR_PATH):256%"}],
    }


def _cluster(host: str, port: int) -> dict[str, Any]:
    address = {"socket_address": {"address": host, "port_value": port}}
    endpoints = [{"lb_endpoints": [{"endpoint": {"address": address}}]}]
    load = {"cluster_name": "collector", "endpoints": endpoints}
    return {"name": "collector", "type": "STRICT_DNS", "connect_timeout": "1s", "load_assignment": load}
