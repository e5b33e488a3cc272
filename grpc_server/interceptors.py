"""What every call goes through, outermost first: request id, in flight, errors, deadline, identity, size.

Errors stand near the outside so that whatever the others find wrong is answered with the same care. Each interceptor
touches only methods of the contract; health and reflection pass by.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, TypeAlias, cast

import grpc
import structlog
from google.protobuf.message import DecodeError
from grpc import HandlerCallDetails, RpcMethodHandler
from grpc.aio import AbortError, ServerInterceptor, ServicerContext

from grpc_server.calls import CALLER, REQUEST_ID
from grpc_server.methods import POLICIES, Policy
from grpc_server.problems import (
    Busy,
    Incident,
    MessageTooLarge,
    MethodUnknown,
    Problem,
    Rejected,
    RequestMalformed,
    TierTooLow,
    TooSlow,
)
from grpc_server.status import DETAILS_KEY, OUTAGES, status_of
from identity import ANONYMOUS, Caller, Denial, Doorkeeper

REQUEST_ID_KEY = "x-request-id"
REQUEST_ID_LENGTH_MAX = 64
IN_FLIGHT_MAX = 16_384
"""Calls at once, about 150 MB of them; each shard's own queue is bounded by its link."""

Context = ServicerContext[Any, Any]
Handler: TypeAlias = "RpcMethodHandler[Any, Any]"  # generic for the type checker only
Continuation: TypeAlias = "Callable[[HandlerCallDetails], Awaitable[Handler | None]]"
Step = Callable[[Context], AbstractAsyncContextManager[None]]

log = structlog.get_logger("grpc")


class RequestIds(ServerInterceptor):
    """Gives the call a name: the proxy's `x-request-id` or a fresh one. It is in the log and in the trailers."""

    def __init__(self, new_id: Callable[[], str]) -> None:
        self._new_id = new_id

    async def intercept_service(
        self, continuation: Continuation, handler_call_details: HandlerCallDetails
    ) -> Handler | None:
        """Wrap the handler."""
        handler = await continuation(handler_call_details)
        if handler is None:
            return handler
        given = _values(handler_call_details, REQUEST_ID_KEY)

        @asynccontextmanager
        async def named(context: Context) -> AsyncIterator[None]:
            request_id = given[0] if given and _is_name(given[0]) else self._new_id()
            REQUEST_ID.set(request_id)
            context.set_trailing_metadata(((REQUEST_ID_KEY, request_id),))
            with structlog.contextvars.bound_contextvars(request_id=request_id):
                yield

        return _around(handler, named)


class InFlight(ServerInterceptor):
    """Counts the calls under way, refuses more than a bound, and says when there are none."""

    def __init__(self, in_flight_max: int = IN_FLIGHT_MAX) -> None:
        self._in_flight_max = in_flight_max
        self._idle = asyncio.Event()
        self._idle.set()
        self.count = 0

    async def intercept_service(
        self, continuation: Continuation, handler_call_details: HandlerCallDetails
    ) -> Handler | None:
        """Wrap the handler."""
        handler = await continuation(handler_call_details)
        if handler is None or handler_call_details.method not in POLICIES:
            return handler
        return _around(handler, self._counted)

    async def drained(self, timeout_s: float) -> int:
        """Wait until no call is under way and return how many still are, 0 unless the time is up."""
        try:
            async with asyncio.timeout(timeout_s):
                await self._idle.wait()
        except TimeoutError:
            pass
        return self.count

    @asynccontextmanager
    async def _counted(self, context: Context) -> AsyncIterator[None]:
        if self.count >= self._in_flight_max:
            await _end(context, Busy(self._in_flight_max))
        self.count += 1
        self._idle.clear()
        try:
            yield
        finally:
            self.count -= 1
            if not self.count:
                self._idle.set()


class Errors(ServerInterceptor):
    """Turns problems and outages into rich statuses; anything else is a bug: INTERNAL, and the traceback in the log."""

    def __init__(self, new_id: Callable[[], str]) -> None:
        self._new_id = new_id

    async def intercept_service(
        self, continuation: Continuation, handler_call_details: HandlerCallDetails
    ) -> Handler | None:
        """Wrap the handler, and stand in for one that does not exist."""
        handler = await continuation(handler_call_details)
        method = handler_call_details.method
        if handler is None:
            return grpc.unary_unary_rpc_method_handler(_unknown(method))
        if method not in POLICIES:
            return handler

        @asynccontextmanager
        async def mapped(context: Context) -> AsyncIterator[None]:
            try:
                yield
            except AbortError:
                raise
            except Rejected as rejected:
                await _end(context, rejected.problem)
            except OUTAGES as outage:
                log.warning("outage", method=method, kind=type(outage).__name__, why=str(outage))
                await _end(context, outage)
            except Exception:
                incident = self._new_id()
                log.exception("unhandled", method=method, incident=incident)
                await _end(context, Incident(incident))

        return _around(handler, mapped)


class Deadlines(ServerInterceptor):
    """Gives a call that has no deadline its method's; grpc itself watches the caller's own."""

    async def intercept_service(
        self, continuation: Continuation, handler_call_details: HandlerCallDetails
    ) -> Handler | None:
        """Wrap the handler."""
        handler = await continuation(handler_call_details)
        policy = POLICIES.get(handler_call_details.method)
        if handler is None or policy is None or policy.deadline_s is None:
            return handler
        default_s = policy.deadline_s

        @asynccontextmanager
        async def limited(context: Context) -> AsyncIterator[None]:
            limit = asyncio.timeout(default_s if context.time_remaining() is None else None)
            try:
                async with limit:
                    yield
            except TimeoutError:
                if limit.expired():
                    raise Rejected(TooSlow(default_s)) from None
                raise

        return _around(handler, limited)


class Identities(ServerInterceptor):
    """Establishes the caller from `authorization` and `x-service-key`, and holds the method's tier against them."""

    def __init__(self, doorkeeper: Doorkeeper) -> None:
        self._doorkeeper = doorkeeper

    async def intercept_service(
        self, continuation: Continuation, handler_call_details: HandlerCallDetails
    ) -> Handler | None:
        """Wrap the handler."""
        handler = await continuation(handler_call_details)
        policy = POLICIES.get(handler_call_details.method)
        if handler is None or policy is None:
            return handler

        @asynccontextmanager
        async def admitted(context: Context) -> AsyncIterator[None]:  # noqa: ARG001 - a step
            CALLER.set(self._admit(policy, handler_call_details))
            yield

        return _around(handler, admitted)

    def _admit(self, policy: Policy, details: HandlerCallDetails) -> Caller:
        if not policy.identified:
            return ANONYMOUS
        tokens, keys = _values(details, "authorization"), _values(details, "x-service-key")
        if len(tokens) > 1:
            raise Rejected(Denial.AUTHORIZATION_MALFORMED)
        caller = self._doorkeeper.admit(tokens[0] if tokens else None, keys[0] if len(keys) == 1 else None)
        if isinstance(caller, Denial):
            raise Rejected(caller)
        if caller.tier < policy.tier:
            raise Rejected(Denial.TOKEN_MISSING if caller == ANONYMOUS else TierTooLow(policy.tier, caller.tier))
        return caller


class Sizes(ServerInterceptor):
    """Holds each request message against its method's limit before it is parsed, and parses it."""

    async def intercept_service(
        self, continuation: Continuation, handler_call_details: HandlerCallDetails
    ) -> Handler | None:
        """Replace the handler by one that takes bytes."""
        handler = await continuation(handler_call_details)
        method = handler_call_details.method
        policy = POLICIES.get(method)
        if handler is None or policy is None or handler.request_deserializer is None:
            return handler
        parse = handler.request_deserializer
        bytes_max = policy.request_bytes_max

        def parsed(raw: bytes) -> Any:
            if len(raw) > bytes_max:
                raise Rejected(MessageTooLarge(method, len(raw), bytes_max))
            try:
                return parse(raw)
            except DecodeError as error:
                raise Rejected(RequestMalformed(method)) from error

        return _parsing(handler, parsed)


def chain(new_id: Callable[[], str], in_flight: InFlight, doorkeeper: Doorkeeper) -> Sequence[ServerInterceptor]:
    """All of them in order."""
    return [RequestIds(new_id), in_flight, Errors(new_id), Deadlines(), Identities(doorkeeper), Sizes()]


async def _end(context: Context, cause: Problem | Exception) -> None:
    """End the call with the status of `cause`; never returns."""
    code, status = status_of(cause)
    trailers = ((DETAILS_KEY, status.SerializeToString()), (REQUEST_ID_KEY, REQUEST_ID.get()))
    await context.abort(code, status.message, trailers)


def _unknown(method: str) -> Callable[[bytes, Context], Awaitable[bytes]]:
    async def refuse(request: bytes, context: Context) -> bytes:  # noqa: ARG001 - a handler
        await _end(context, MethodUnknown(method))
        return b""

    return refuse


def _values(details: HandlerCallDetails, key: str) -> list[str]:
    return [value for name, value in details.invocation_metadata or () if name == key and isinstance(value, str)]


def _is_name(text: str) -> bool:
    return 0 < len(text) <= REQUEST_ID_LENGTH_MAX and text.isascii() and text.isprintable() and " " not in text


def _around(handler: Handler, step: Step) -> Handler:
    """The same handler, run inside `step`."""
    inner = _behaviour(handler)
    if not handler.response_streaming:

        async def unary(request: Any, context: Context) -> Any:
            async with step(context):
                return await inner(request, context)

        return _like(handler, unary, handler.request_deserializer)

    async def streaming(request: Any, context: Context) -> AsyncIterator[Any]:
        async with step(context):
            async for response in inner(request, context):
                yield response

    return _like(handler, streaming, handler.request_deserializer)


def _parsing(handler: Handler, parsed: Callable[[bytes], Any]) -> Handler:
    """The same handler, fed with bytes that `parsed` turns into its messages."""
    inner = _behaviour(handler)

    async def each(raws: AsyncIterator[bytes]) -> AsyncIterator[Any]:
        async for raw in raws:
            yield parsed(raw)

    def fed(request: Any) -> Any:
        return each(request) if handler.request_streaming else parsed(request)

    if not handler.response_streaming:

        async def unary(request: Any, context: Context) -> Any:
            return await inner(fed(request), context)

        return _like(handler, unary, None)

    async def streaming(request: Any, context: Context) -> AsyncIterator[Any]:
        async for response in inner(fed(request), context):
            yield response

    return _like(handler, streaming, None)


def _behaviour(handler: Handler) -> Callable[[Any, Context], Any]:
    found: Any = handler.unary_unary or handler.unary_stream or handler.stream_unary or handler.stream_stream
    assert found is not None, "a handler has one behaviour"
    return cast(Callable[[Any, Context], Any], found)


def _like(handler: Handler, behaviour: Callable[[Any, Context], Any], deserializer: Any) -> Handler:
    makers = {
        (False, False): grpc.unary_unary_rpc_method_handler,
        (False, True): grpc.unary_stream_rpc_method_handler,
        (True, False): grpc.stream_unary_rpc_method_handler,
        (True, True): grpc.stream_stream_rpc_method_handler,
    }
    make = makers[handler.request_streaming, handler.response_streaming]
    return make(behaviour, deserializer, handler.response_serializer)
