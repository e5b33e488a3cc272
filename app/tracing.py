"""Spans for OpenTelemetry: of a call, of what it asks actors, of its SQL and of its requests to the chain.

The only file that imports OpenTelemetry, and itself imported only when `ZMART_OTLP_ENDPOINT` is set. No span has an
argument, a header or an exception's text in it: none can carry a secret. The SDK's own variables (OTEL_TRACES_SAMPLER,
OTEL_EXPORTER_OTLP_HEADERS, OTEL_RESOURCE_ATTRIBUTES) hold as it documents them.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AbstractContextManager, asynccontextmanager, contextmanager
from typing import TypeVar

import structlog
from opentelemetry import context as otel
from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import Span, SpanKind, Status, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from solders.rpc.requests import Body
from solders.rpc.responses import RPCResult

from chain.rpc import Asking
from domain.commands import Command
from domain.outcomes import Outcome
from grpc_server import Outage
from grpc_server.interceptors import Context
from grpc_server.measuring import ended_with
from grpc_server.methods import Policy
from grpc_server.naming import trace_headers
from grpc_server.ports import CommandRouter

EXPORT_S_MAX = 2.0
"""For one request to the collector; a batch that was not taken by then is dropped."""
QUEUED_SPANS_MAX = 2_048
"""Spans that wait for the collector, about 2 MB; further ones are dropped."""
BATCH_SPANS_MAX = 512

R = TypeVar("R", bound=RPCResult)
_PROPAGATOR = TraceContextTextMapPropagator()


class Tracing:
    """Makes spans and sends them to a collector from a thread of its own; a collector that is away delays nobody."""

    def __init__(self, endpoint: str, service: str) -> None:
        exporter = OTLPSpanExporter(f"{endpoint.rstrip('/')}/v1/traces", timeout=EXPORT_S_MAX)
        self._provider = TracerProvider(resource=Resource.create({"service.name": service}), shutdown_on_exit=False)
        self._provider.add_span_processor(
            BatchSpanProcessor(exporter, max_queue_size=QUEUED_SPANS_MAX, max_export_batch_size=BATCH_SPANS_MAX)
        )
        self._tracer = self._provider.get_tracer("zmart")

    async def close(self) -> None:
        """Send what is left, at most `QUEUED_SPANS_MAX` spans, each batch within `EXPORT_S_MAX`."""
        await asyncio.to_thread(self._provider.shutdown)

    def step(self, method: str, policy: Policy) -> Callable[[Context], AbstractAsyncContextManager[None]]:  # noqa: ARG002
        """The interceptor's step: a span for each call of a method, under the caller's `traceparent`."""
        name = method.removeprefix("/")

        @asynccontextmanager
        async def traced(context: Context) -> AsyncIterator[None]:
            span = self._begin_call(name, context)
            status = "OK"
            try:
                yield
            except BaseException as error:
                status = ended_with(error, context)
                raise
            finally:
                _end_call(span, status)

        return traced

    def sql(self, name: str) -> AbstractContextManager[None]:
        """A span around a named statement."""
        attributes = {"db.system.name": "postgresql", "db.query.summary": name}
        return self.inside(f"sql {name}", SpanKind.CLIENT, attributes)

    def commands(self, router: CommandRouter) -> CommandRouter:
        """A router whose questions to actors are spans."""
        return _TracedRouter(self, router)

    def asking(self, rpc: Asking) -> Asking:
        """Endpoints whose requests are spans."""
        return _TracedAsking(self, rpc)

    @contextmanager
    def inside(self, name: str, kind: SpanKind, attributes: Mapping[str, str | int]) -> Iterator[None]:
        """A span under the one that is open; none outside of a call, or after its end: nobody asked for that work."""
        if not trace.get_current_span().is_recording():
            yield
            return
        with self._tracer.start_as_current_span(
            name, kind=kind, attributes=attributes, record_exception=False, set_status_on_exception=False
        ) as span:
            try:
                yield
            except BaseException as fault:  # a cancelled wait too
                span.set_status(Status(StatusCode.ERROR, type(fault).__name__))
                raise

    def _begin_call(self, name: str, context: Context) -> Span:
        parent = _PROPAGATOR.extract(trace_headers(context))
        span = self._tracer.start_span(name, parent, SpanKind.SERVER, {"rpc.system.name": "grpc", "rpc.method": name})
        otel.attach(trace.set_span_in_context(span, parent))  # never detached: the call has a context of its own
        structlog.contextvars.bind_contextvars(trace_id=trace.format_trace_id(span.get_span_context().trace_id))
        return span


def _end_call(span: Span, status: str) -> None:
    span.set_attribute("rpc.response.status_code", status)
    if status in ("UNKNOWN", "INTERNAL", "UNAVAILABLE", "DEADLINE_EXCEEDED", "DATA_LOSS", "UNIMPLEMENTED"):
        span.set_status(Status(StatusCode.ERROR, status))
    span.end()


class _TracedRouter:
    """A span from a command's way into its batch to the answer of its actor."""

    def __init__(self, tracing: Tracing, router: CommandRouter) -> None:
        self._tracing = tracing
        self._router = router

    async def submit(self, command: Command) -> Outcome:
        """Carry out a command."""
        attributes = {"zmart.market_id": command.market_id}
        with self._tracing.inside(f"actor {type(command).__name__}", SpanKind.CLIENT, attributes):
            return await self._router.submit(command)

    async def submit_many(self, commands: Sequence[Command]) -> Sequence[Outcome | Outage]:
        """Carry out many commands."""
        with self._tracing.inside("actors many", SpanKind.CLIENT, {"zmart.commands": len(commands)}):
            return await self._router.submit_many(commands)


class _TracedAsking:
    """A span around each request, its repetitions included."""

    def __init__(self, tracing: Tracing, rpc: Asking) -> None:
        self._tracing = tracing
        self._rpc = rpc

    @property
    def endpoint(self) -> str:
        """Where it asks, without secrets."""
        return self._rpc.endpoint

    async def ask(self, body: Body, parser: type[R]) -> R:
        """Ask and, on an outage, ask again."""
        with self._request(body):
            return await self._rpc.ask(body, parser)

    async def ask_once(self, body: Body, parser: type[R]) -> R:
        """Ask exactly once."""
        with self._request(body):
            return await self._rpc.ask_once(body, parser)

    async def ask_each(self, body: Body, parser: type[R]) -> list[R]:
        """Ask every endpoint."""
        with self._request(body):
            return await self._rpc.ask_each(body, parser)

    async def close(self) -> None:
        """Close all connections."""
        await self._rpc.close()

    def _request(self, body: Body) -> AbstractContextManager[None]:
        method = type(body).__name__
        attributes = {"rpc.system.name": "jsonrpc", "rpc.method": method, "server.address": self._rpc.endpoint}
        return self._tracing.inside(f"chain {method}", SpanKind.CLIENT, attributes)
