"""The names of a call: its request id, trace id and market, bound to every line that is logged while it is answered."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import structlog

from grpc_server.calls import REQUEST_ID, Behaviour, Context, headers
from grpc_server.methods import Policy

REQUEST_ID_KEY = "x-request-id"
REQUEST_ID_LENGTH_MAX = 64
TRACEPARENT_KEY = "traceparent"
TRACEPARENT_LENGTH_MAX = 256
"""Version 00 has 55 characters; later ones may append to it (W3C Trace Context, 3.2)."""

_TRACEPARENT = re.compile(r"(?!ff)[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}(?:-.*)?")
_MARKET_ID = re.compile(r"[0-9A-Za-z-]{1,64}")
"""Whatever could be one: base58, hex or a UUID. A token has dots in it and is longer."""


class RequestIds:
    """Gives the call a name: the proxy's `x-request-id` or a fresh one. It is in the log and in the trailers."""

    def __init__(self, new_id: Callable[[], str]) -> None:
        self._new_id = new_id

    def around(self, method: str, policy: Policy, inner: Behaviour) -> Behaviour:  # noqa: ARG002 - the same for every
        """Name the call before anything else."""

        async def named(request: Any, context: Context) -> Any:
            self.name(context)
            return await inner(request, context)

        return named

    def name(self, context: Context) -> None:
        """Name the call, by the caller's trace too if it is in one."""
        request_id, traceparent = _given(headers(context))
        if not _is_name(request_id):
            request_id = self._new_id()
        REQUEST_ID.set(request_id)
        names = {"request_id": request_id}
        if trace_id := trace_id_of(traceparent):
            names["trace_id"] = trace_id
        structlog.contextvars.bind_contextvars(**names)  # the call has a context of its own
        context.set_trailing_metadata(((REQUEST_ID_KEY, request_id),))


def name_market(request: Any) -> None:
    """Bind the market that a request is about, as its caller wrote it; nothing for a request without one."""
    market_id = getattr(request, "market_id", "")
    if market_id and _MARKET_ID.fullmatch(market_id):
        structlog.contextvars.bind_contextvars(market_id=market_id)


def trace_headers(context: Context) -> dict[str, str]:
    """The caller's `traceparent` and `tracestate`, where it is one that we follow."""
    sent = headers(context)
    _, traceparent = _given(sent)
    if trace_id_of(traceparent) is None:
        return {}
    return {TRACEPARENT_KEY: traceparent, "tracestate": ",".join(sent.get("tracestate", ()))}


def trace_id_of(traceparent: str) -> str | None:
    """The 32 hex digits of the trace, None for a header that does not follow W3C Trace Context."""
    if not traceparent or len(traceparent) > TRACEPARENT_LENGTH_MAX:
        return None
    found = _TRACEPARENT.fullmatch(traceparent)
    if found is None or (traceparent.startswith("00") and len(traceparent) != 55):
        return None
    return found[1]


def _given(sent: Mapping[str, Sequence[str]]) -> tuple[str, str]:
    """The first request id and the only traceparent that the caller sent; several are none (3.2)."""
    request_id = next(filter(None, sent.get(REQUEST_ID_KEY, ())), "")
    traceparents = sent.get(TRACEPARENT_KEY, ())
    return request_id, traceparents[0] if len(traceparents) == 1 else ""


def _is_name(text: str) -> bool:
    return 0 < len(text) <= REQUEST_ID_LENGTH_MAX and text.isascii() and text.isprintable() and " " not in text
