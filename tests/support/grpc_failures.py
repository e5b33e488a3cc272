"""What a failed call told its caller, unpacked."""

from __future__ import annotations

from collections.abc import Awaitable
from dataclasses import dataclass
from typing import TypeVar

import grpc
from google.protobuf.message import Message
from google.rpc import error_details_pb2
from google.rpc.status_pb2 import Status
from grpc.aio import AioRpcError

M = TypeVar("M", bound=Message)


@dataclass(frozen=True, slots=True)
class Failure:
    """What a failed call told its caller."""

    code: grpc.StatusCode
    message: str
    info: error_details_pb2.ErrorInfo
    details: dict[str, bytes]
    request_id: str

    def detail(self, kind: type[M]) -> M:
        """The detail of that type; KeyError when there is none."""
        return kind.FromString(self.details[kind.DESCRIPTOR.full_name])


def failure_of(error: AioRpcError) -> Failure:
    """Unpack a rich error; fails when it is not one."""
    trailers = dict(error.trailing_metadata() or ())
    raw = trailers["grpc-status-details-bin"]
    assert isinstance(raw, bytes)
    status = Status.FromString(raw)
    assert status.code == error.code().value[0]
    assert status.message == error.details()
    packed = {detail.type_url.rsplit("/", 1)[1]: detail.value for detail in status.details}
    info = error_details_pb2.ErrorInfo.FromString(packed.pop("google.rpc.ErrorInfo"))
    return Failure(error.code(), status.message, info, packed, str(trailers["x-request-id"]))


async def failure(call: Awaitable[object]) -> Failure:
    """Await a call that must fail, and unpack its error."""
    try:
        answer = await call
    except AioRpcError as error:
        return failure_of(error)
    raise AssertionError(f"the call succeeded: {answer!r}")
