"""A span for each gRPC call: the server's interceptor, apart from what processes without gRPC trace."""

from __future__ import annotations

from typing import Any

import structlog
from opentelemetry import context as otel
from opentelemetry import trace
from opentelemetry.trace import Span, SpanKind, Status, StatusCode

from app.tracing import PROPAGATOR, Tracing
from grpc_server.calls import Behaviour, Context
from grpc_server.measuring import ended_with
from grpc_server.methods import Policy
from grpc_server.naming import trace_headers


class TracedCalls:
    """Makes a span of each call, under the caller's `traceparent`; its end says how the call ended."""

    def __init__(self, tracing: Tracing) -> None:
        self._tracer = tracing.tracer

    def around(self, method: str, policy: Policy, inner: Behaviour) -> Behaviour:  # noqa: ARG002 - the same for every
        """Do the call inside a span."""
        name = method.removeprefix("/")

        async def traced(request: Any, context: Context) -> Any:
            span = self._begin(name, context)
            status = "OK"
            try:
                return await inner(request, context)
            except BaseException as error:
                status = ended_with(error, context)
                raise
            finally:
                _end(span, status)

        return traced

    def _begin(self, name: str, context: Context) -> Span:
        parent = PROPAGATOR.extract(trace_headers(context))
        span = self._tracer.start_span(name, parent, SpanKind.SERVER, {"rpc.system.name": "grpc", "rpc.method": name})
        otel.attach(trace.set_span_in_context(span, parent))  # never detached: the call has a context of its own
        structlog.contextvars.bind_contextvars(trace_id=trace.format_trace_id(span.get_span_context().trace_id))
        return span


def _end(span: Span, status: str) -> None:
    span.set_attribute("rpc.response.status_code", status)
    if status in ("UNKNOWN", "INTERNAL", "UNAVAILABLE", "DEADLINE_EXCEEDED", "DATA_LOSS", "UNIMPLEMENTED"):
        span.set_status(Status(StatusCode.ERROR, status))
    span.end()
