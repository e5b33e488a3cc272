"""One call of the contract through each of its doors: gRPC, grpc-web and REST; what it ends with, in one shape."""

from __future__ import annotations

import base64
import json
import re
import struct
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote

import aiohttp
import grpc
from google.api import annotations_pb2
from google.protobuf import descriptor_pool, json_format, message_factory
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.message import Message
from google.rpc import error_details_pb2 as error_details_pb2  # its types are needed where details are printed
from google.rpc.status_pb2 import Status

HTTP_OF_CODE = {3: 400, 5: 404, 6: 409, 7: 403, 8: 429, 9: 400, 11: 400, 12: 501, 13: 500, 14: 503, 15: 500, 16: 401}
"""The canonical mapping of status codes that our services use (google.rpc.Code)."""
_PLACE = re.compile(r"{(\w+)}")
_FRAME = struct.Struct(">BI")
Headers = Mapping[str, str]


@dataclass(frozen=True)
class Answer:
    """What a caller learns: the first message as the contract's JSON, or code, words and details of the error."""

    code: int
    body: Any = None
    words: str = ""
    details: list[Any] = field(default_factory=list)

    @property
    def reason(self) -> str | None:
        return self.details[0]["reason"] if self.details else None


@dataclass(frozen=True)
class Rpc:
    """One method of the contract, by its path."""

    path: str

    @property
    def descriptor(self) -> MethodDescriptor:
        service, method = self.path.strip("/").split("/")
        found: MethodDescriptor = descriptor_pool.Default().FindServiceByName(service).methods_by_name[method]
        return found

    def request(self, fields: Mapping[str, Any]) -> Message:
        kind = message_factory.GetMessageClass(self.descriptor.input_type)
        return json_format.ParseDict(dict(fields), kind())

    def answer(self, raw: bytes) -> Answer:
        kind = message_factory.GetMessageClass(self.descriptor.output_type)
        body = json_format.MessageToDict(
            kind.FromString(raw), preserving_proto_field_name=True, always_print_fields_with_no_presence=True
        )
        return Answer(0, body)

    @property
    def rest(self) -> tuple[str, str, str] | None:
        """HTTP method, path template and what of the request is the body; None for what is not mapped."""
        rule = self.descriptor.GetOptions().Extensions[annotations_pb2.http]
        verb = rule.WhichOneof("pattern")
        return (verb.upper(), getattr(rule, verb), rule.body) if verb else None


@dataclass(frozen=True)
class ThreeDoors:
    """The doors of a running system."""

    channel: grpc.aio.Channel
    http: aiohttp.ClientSession
    url: str

    async def by_all(self, rpc: Rpc, fields: Mapping[str, Any], headers: Headers) -> Mapping[str, Answer]:
        """The same call through each door that it has, one after the other."""
        answers = {"grpc": await self.by_grpc(rpc, fields, headers)}
        if not rpc.descriptor.client_streaming:
            answers["grpc-web"] = await self.by_grpc_web(rpc, fields, headers)
        if rpc.rest is not None:
            answers["REST"] = await self.by_rest(rpc, fields, headers)
        return answers

    async def by_grpc(self, rpc: Rpc, fields: Mapping[str, Any], headers: Headers) -> Answer:
        raw = rpc.request(fields).SerializeToString()
        metadata = tuple(headers.items())
        try:
            channel: Any = self.channel  # its types want to know the messages beforehand
            if rpc.descriptor.client_streaming:
                call = channel.stream_stream(rpc.path)(_once(raw), metadata=metadata, timeout=30)
            elif rpc.descriptor.server_streaming:
                call = channel.unary_stream(rpc.path)(raw, metadata=metadata, timeout=30)
            else:
                return rpc.answer(await channel.unary_unary(rpc.path)(raw, metadata=metadata, timeout=30))
            first = await anext(aiter(call))
            call.cancel()
            return rpc.answer(first)
        except grpc.aio.AioRpcError as error:
            trailers = dict(error.trailing_metadata() or ())
            return _failure(bytes(trailers["grpc-status-details-bin"]))

    async def by_grpc_web(self, rpc: Rpc, fields: Mapping[str, Any], headers: Headers) -> Answer:
        raw = rpc.request(fields).SerializeToString()
        more = {**headers, "content-type": "application/grpc-web+proto", "x-grpc-web": "1"}
        async with self.http.post(self.url + rpc.path, data=_FRAME.pack(0, len(raw)) + raw, headers=more) as response:
            assert response.status == 200
            if "grpc-status" in response.headers:  # nothing but trailers
                return _web_failure(response.headers)
            kind, size = _FRAME.unpack(await response.content.readexactly(_FRAME.size))
            frame = await response.content.readexactly(size)
            if kind & 0x80:
                return _web_failure(dict(line.split(":", 1) for line in frame.decode().split("\r\n") if line))
            return rpc.answer(frame)

    async def by_rest(self, rpc: Rpc, fields: Mapping[str, Any], headers: Headers) -> Answer:
        assert rpc.rest is not None
        verb, template, body = rpc.rest
        left = dict(fields)
        path = _PLACE.sub(lambda place: str(left.pop(place[1], "-")), template)
        more: dict[str, Any] = {"json": left} if body == "*" else {"params": left}
        if body == "body":  # google.api.HttpBody: the bytes themselves
            more = {"data": base64.b64decode(left["body"]["data"])}
        async with self.http.request(verb, self.url + path, headers=headers, **more) as response:
            line = json.loads(
                await response.content.readline() if rpc.descriptor.server_streaming else await response.read()
            )
            if response.status == 200:
                return Answer(0, line)
            assert response.status == HTTP_OF_CODE[line["code"]]
            return Answer(line["code"], None, line["message"], [_told(detail) for detail in line["details"]])


def without(value: Any, varies: frozenset[str]) -> Any:
    """A body without what differs from call to call, by the names of its fields."""
    if isinstance(value, dict):
        return {key: ("..." if key in varies else without(inner, varies)) for key, inner in value.items()}
    return [without(inner, varies) for inner in value] if isinstance(value, list) else value


def _failure(raw: bytes) -> Answer:
    status = Status.FromString(raw)
    details = [_told(json_format.MessageToDict(one, preserving_proto_field_name=True)) for one in status.details]
    return Answer(status.code, None, status.message, details)


def _web_failure(trailers: Mapping[str, str]) -> Answer:
    raw = trailers["grpc-status-details-bin"].strip()
    failed = _failure(base64.b64decode(raw + "=" * (-len(raw) % 4)))
    assert (trailers["grpc-status"].strip(), unquote(trailers["grpc-message"].strip())) == (
        str(failed.code),
        failed.words,
    )
    return failed


def _told(detail: Mapping[str, Any]) -> dict[str, Any]:
    """A detail without what it leaves empty, which only JSON prints."""
    return {name: value for name, value in detail.items() if value not in ("", {}, [])}


async def _once(raw: bytes) -> AsyncIterator[bytes]:
    yield raw
