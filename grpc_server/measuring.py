"""The interceptor that counts and times every call, for Prometheus and for GetHealth."""

from __future__ import annotations

import asyncio
from time import perf_counter
from typing import Any

import grpc
from grpc.aio import AbortError
from prometheus_client import Histogram

from grpc_server.calls import Behaviour, Context
from grpc_server.methods import Policy
from grpc_server.metrics import CALL_S, CALLS_STARTED
from grpc_server.traffic import Traffic

_STATUS_NAMES = {code.value[0]: code.name for code in grpc.StatusCode}


class Measuring:
    """Counts and times every call of the contract, whatever becomes of it."""

    def __init__(self, traffic: Traffic) -> None:
        self._traffic = traffic

    def around(self, method: str, policy: Policy, inner: Behaviour) -> Behaviour:  # noqa: ARG002 - the same for every
        """Measure the calls of one method; what belongs to each status is looked up once."""
        name = method.removeprefix("/")
        started = CALLS_STARTED.labels(name)
        took: dict[str, Histogram] = {"OK": CALL_S.labels(name, "OK")}

        async def measured(request: Any, context: Context) -> Any:
            started.inc()
            begun_s = perf_counter()
            status = "OK"
            try:
                return await inner(request, context)
            except BaseException as error:
                status = ended_with(error, context)
                raise
            finally:
                if status not in took:
                    took[status] = CALL_S.labels(name, status)
                took[status].observe(perf_counter() - begun_s)
                self._traffic.note(status)

        return measured


def ended_with(error: BaseException, context: Context) -> str:
    """The name of the status that a call has when this ends it: its own when it was aborted."""
    if isinstance(error, AbortError):
        return _STATUS_NAMES.get(_number(context.code()), "UNKNOWN")
    return "CANCELLED" if isinstance(error, asyncio.CancelledError) else "UNKNOWN"


def _number(code: Any) -> int:
    """The number of a status: grpc's context gives it bare."""
    return code.value[0] if isinstance(code, grpc.StatusCode) else int(code or 0)
