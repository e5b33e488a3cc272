"""A collector of traces on this machine, which keeps what it is sent."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

TRACE_ID = "4bf92f3577b34da6a3ce929d0e0e4736"
CALLERS_SPAN = "00f067aa0ba902b7"
TRACEPARENT = {"traceparent": f"00-{TRACE_ID}-{CALLERS_SPAN}-01"}


@dataclass
class Collector:
    """An OTLP receiver over HTTP; `raw` is every body as it came."""

    port: int = 0
    raw: list[bytes] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def spans(self) -> list[Any]:
        found = []
        for body in self.raw:
            for of_resource in ExportTraceServiceRequest.FromString(body).resource_spans:
                found += [span for scope in of_resource.scope_spans for span in scope.spans]
        return found

    def trace(self, trace_id: str = TRACE_ID) -> dict[str, Any]:
        """The spans of a trace, the caller's if none is named, by name."""
        return {span.name: span for span in self.spans() if span.trace_id.hex() == trace_id}

    def named(self, name: str) -> list[Any]:
        """The spans of that name, of every trace."""
        return [span for span in self.spans() if span.name == name]

    def begun_by(self, name: str, other: str) -> list[Any]:
        """The spans whose names begin with `other`, of the traces that one of that name begins."""
        spans = self.spans()
        begun = {span.trace_id for span in spans if span.name == name and not span.parent_span_id}
        return [span for span in spans if span.trace_id in begun and span.name.startswith(other)]


@pytest.fixture(scope="module")
def otlp() -> Iterator[Collector]:
    """One for all tests of a file: an Envoy in front of them sends what is left of a test during the next ones."""
    with collecting() as collector:
        yield collector


@pytest.fixture
def own_otlp() -> Iterator[Collector]:
    """One that hears of this test alone."""
    with collecting() as collector:
        yield collector


@contextmanager
def collecting() -> Iterator[Collector]:
    collector = Collector()

    class Receiver(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            collector.raw.append(self._body())
            self.send_response(200)
            self.send_header("content-length", "0")
            self.end_headers()

        def _body(self) -> bytes:
            """By length as the SDK sends it, in chunks as Envoy does."""
            if "content-length" in self.headers:
                return self.rfile.read(int(self.headers["content-length"]))
            body = b""
            while size_bytes := int(self.rfile.readline(), 16):
                body += self.rfile.read(size_bytes)
                self.rfile.readline()
            self.rfile.readline()
            return body

        def log_message(self, *_: Any) -> None:
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Receiver)
    collector.port = server.server_port
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield collector
    server.shutdown()
    thread.join()
    server.server_close()
