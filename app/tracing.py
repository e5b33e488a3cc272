"""Spans for OpenTelemetry: of work for many callers, of SQL, of what actors and the chain are asked.

Only this file and `traced_calls.py` import OpenTelemetry, and are themselves imported only when `ZMART_OTLP_ENDPOINT`
is set. Nothing of gRPC is loaded here: shards would take half a second longer to start. No span has an argument, a
header or an exception's text in it: none can carry a secret. The SDK's own variables (OTEL_TRACES_SAMPLER,
OTEL_EXPORTER_OTLP_HEADERS, OTEL_RESOURCE_ATTRIBUTES) hold as it documents them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import Link, Span, SpanKind, Status, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from app.traced_parts import TracedAsking, TracedRouter

if TYPE_CHECKING:
    from chain.rpc import Asking
    from grpc_server.ports import CommandRouter

EXPORT_S_MAX = 2.0
"""For one request to the collector; a batch that was not taken by then is dropped."""
QUEUED_SPANS_MAX = 2_048
"""Spans that wait for the collector, about 2 MB; further ones are dropped."""
BATCH_SPANS_MAX = 512
ASKED_BY_MAX = 128
"""Spans that a piece of work is told to be for; of further ones nothing is said."""

PROPAGATOR = TraceContextTextMapPropagator()


class Tracing:
    """Makes spans and sends them to a collector from a thread of its own; a collector that is away delays nobody."""

    def __init__(self, endpoint: str, service: str) -> None:
        exporter = OTLPSpanExporter(f"{endpoint.rstrip('/')}/v1/traces", timeout=EXPORT_S_MAX)
        self._provider = TracerProvider(resource=Resource.create({"service.name": service}), shutdown_on_exit=False)
        self._provider.add_span_processor(
            BatchSpanProcessor(exporter, max_queue_size=QUEUED_SPANS_MAX, max_export_batch_size=BATCH_SPANS_MAX)
        )
        self.tracer = self._provider.get_tracer("zmart")
        """Makes single spans; those that nobody ends are never sent."""

    async def close(self) -> None:
        """Send what is left, at most `QUEUED_SPANS_MAX` spans, each batch within `EXPORT_S_MAX`."""
        await asyncio.to_thread(self._provider.shutdown)

    def sql(self, name: str) -> AbstractContextManager[None]:
        """A span around a named statement."""
        attributes = {"db.system.name": "postgresql", "db.query.summary": name}
        return self.inside(f"sql {name}", attributes)

    def commands(self, router: CommandRouter) -> CommandRouter:
        """A router whose questions to actors are spans."""
        return TracedRouter(self.inside, router)

    def asking(self, rpc: Asking) -> Asking:
        """Endpoints whose requests are spans."""
        return TracedAsking(self.inside, rpc)

    @contextmanager
    def inside(self, name: str, attributes: Mapping[str, str | int]) -> Iterator[None]:
        """A span under the one that is open; none outside of a call, or after its end: nobody asked for that work."""
        if not trace.get_current_span().is_recording():
            yield
            return
        with _current(self.tracer.start_span(name, kind=SpanKind.CLIENT, attributes=attributes)):
            yield

    def traceparent(self) -> str | None:
        """The span that is open, for whoever goes on with its work; None when nobody records it."""
        if not trace.get_current_span().is_recording():
            return None
        carrier: dict[str, str] = {}
        PROPAGATOR.inject(carrier)
        return carrier["traceparent"]

    @contextmanager
    def work(self, name: str, attributes: Mapping[str, str | int], asked_by: Sequence[str] = ()) -> Iterator[None]:
        """A span around work that no call waits inside of, below the first of those who asked for it.

        Each of the others has a span of that name in its own trace, and there is a link between both: what is done for
        many is one piece of work. Without any it begins a trace.
        """
        first, *others = [_remote(each) for each in asked_by[:ASKED_BY_MAX]] or [Context()]
        links = [Link(trace.get_current_span(other).get_span_context()) for other in others]
        span = self.tracer.start_span(name, first, SpanKind.CONSUMER, attributes, links)
        link = Link(span.get_span_context())
        beside = [self.tracer.start_span(name, other, SpanKind.CONSUMER, attributes, [link]) for other in others]
        try:
            with _current(span):
                yield
        finally:
            for each in beside:
                each.end()


def _remote(traceparent: str) -> Context:
    return PROPAGATOR.extract({"traceparent": traceparent}, Context())


@contextmanager
def _current(span: Span) -> Iterator[None]:
    """Make a span the open one and end it; of an exception it tells the kind."""
    with trace.use_span(span, end_on_exit=True, record_exception=False, set_status_on_exception=False):
        try:
            yield
        except BaseException as fault:  # a cancelled wait too
            span.set_status(Status(StatusCode.ERROR, type(fault).__name__))
            raise
