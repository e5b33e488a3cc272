"""From a servicer's methods to handlers that take bytes: size, parsing, and the interceptors around them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import aclosing
from typing import Any, TypeAlias, cast

import grpc
from google.protobuf.message import DecodeError
from grpc import HandlerCallDetails, RpcMethodHandler
from grpc.aio import Server
from prometheus_client import Histogram

from grpc_server.calls import Behaviour, Context
from grpc_server.interceptors import Interceptor, end
from grpc_server.methods import POLICIES
from grpc_server.metrics import RECEIVED_BYTES, SENT_BYTES
from grpc_server.naming import RequestIds, name_market
from grpc_server.problems import MessageTooLarge, MethodUnknown, Rejected, RequestMalformed

Handler: TypeAlias = "RpcMethodHandler[Any, Any]"  # generic for the type checker only


class Pipeline:
    """Stands in for the server where generated code registers a servicer, and puts everything around its methods."""

    def __init__(self, server: Server, interceptors: Sequence[Interceptor]) -> None:
        self._server = server
        self._interceptors = interceptors

    def add_generic_rpc_handlers(self, handlers: Sequence[grpc.GenericRpcHandler]) -> None:
        """Nothing: generated code registers each method twice, and the other call has the names."""

    def add_registered_method_handlers(self, service: str, handlers: Mapping[str, Handler]) -> None:
        """Put the wrapped methods of a service on the server."""
        wrapped = {name: self._wrapped(f"/{service}/{name}", handler) for name, handler in handlers.items()}
        self._server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, wrapped),))
        self._server.add_registered_method_handlers(service, wrapped)

    def _wrapped(self, method: str, handler: Handler) -> Handler:
        policy = POLICIES[method]
        behaviour = _fed(handler, _parser(method, handler, policy.request_bytes_max))
        for interceptor in reversed(self._interceptors):
            behaviour = interceptor.around(method, policy, behaviour)
        return _taking_bytes(method, handler, behaviour)


class UnknownMethods(grpc.GenericRpcHandler):
    """Answers whatever no other handler knows; registered last."""

    def __init__(self, request_ids: RequestIds) -> None:
        self._request_ids = request_ids

    def service(self, handler_call_details: HandlerCallDetails) -> Handler:
        """A handler that says so."""

        async def refuse(request: bytes, context: Context) -> bytes:
            self._request_ids.name(context)
            await end(context, MethodUnknown(handler_call_details.method))
            return request

        return grpc.unary_unary_rpc_method_handler(cast(Any, refuse))


def _parser(method: str, handler: Handler, bytes_max: int) -> Callable[[bytes], Any]:
    """Holds a message against the method's limit before it is parsed."""
    parse = handler.request_deserializer
    assert parse is not None, "generated code names a deserializer for every method"

    def parsed(raw: bytes) -> Any:
        if len(raw) > bytes_max:
            raise Rejected(MessageTooLarge(method, len(raw), bytes_max))
        try:
            return parse(raw)
        except DecodeError as error:
            raise Rejected(RequestMalformed(method)) from error

    return parsed


def _fed(handler: Handler, parsed: Callable[[bytes], Any]) -> Behaviour:
    """What a handler does, with bytes for requests; the responses of a stream are written one by one."""
    found: Any = handler.unary_unary or handler.unary_stream or handler.stream_unary or handler.stream_stream
    assert found is not None, "a handler has one behaviour"

    async def each(raws: AsyncIterator[bytes]) -> AsyncIterator[Any]:
        async for raw in raws:
            yield parsed(raw)

    def one(raw: bytes) -> Any:
        request = parsed(raw)
        name_market(request)  # a stream's messages are about many
        return request

    feed: Callable[[Any], Any] = each if handler.request_streaming else one

    async def written(request: Any, context: Context) -> None:
        async with aclosing(found(feed(request), context)) as responses:
            async for response in responses:
                await context.write(response)

    return written if handler.response_streaming else lambda request, context: found(feed(request), context)


def _taking_bytes(method: str, handler: Handler, behaviour: Behaviour) -> Handler:
    """A handler of the same kind around `behaviour`, which parses for itself."""
    makers: Mapping[tuple[bool, bool], Any] = {
        (False, False): grpc.unary_unary_rpc_method_handler,
        (False, True): grpc.unary_stream_rpc_method_handler,
        (True, False): grpc.stream_unary_rpc_method_handler,
        (True, True): grpc.stream_stream_rpc_method_handler,
    }
    make = makers[handler.request_streaming, handler.response_streaming]
    if handler.request_streaming or handler.response_streaming:  # A66 counts a call's bytes at its end
        return cast(Handler, make(behaviour, None, handler.response_serializer))
    serialize = handler.response_serializer
    assert serialize is not None, "generated code names a serializer for every method"
    received, sent = (kind.labels(method.removeprefix("/")) for kind in (RECEIVED_BYTES, SENT_BYTES))
    return cast(Handler, make(behaviour, _weighed(received, lambda raw: raw), _weighed(sent, serialize)))


def _weighed(sizes: Histogram, made: Callable[[Any], bytes]) -> Callable[[Any], bytes]:
    """`made` with the size of what it makes counted."""

    def weighed(message: Any) -> bytes:
        raw = made(message)
        sizes.observe(len(raw))
        return raw

    return weighed
