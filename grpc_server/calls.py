"""The call that is being answered: what interceptors found out about it, for the handlers below them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextvars import ContextVar
from typing import Any

from grpc.aio import ServicerContext

from domain.ids import Wallet
from grpc_server.problems import Rejected, WalletMissing
from identity import ANONYMOUS, Caller

CALLER: ContextVar[Caller] = ContextVar("caller", default=ANONYMOUS)
LIMIT_HEADERS: ContextVar[tuple[tuple[str, str], ...]] = ContextVar("limit_headers", default=())
REQUEST_ID: ContextVar[str] = ContextVar("request_id", default="")

Context = ServicerContext[Any, Any]
Behaviour = Callable[[Any, Context], Awaitable[Any]]
"""Answers a call: what it returns is the response, None where responses are written to the context one by one."""

_HEADERS: ContextVar[tuple[Context | None, Mapping[str, Sequence[str]]]] = ContextVar("headers", default=(None, {}))


def headers(context: Context) -> Mapping[str, Sequence[str]]:
    """Every text that the caller sent, in order by its key; read once a call, for grpc builds all of it each time."""
    read_for, read = _HEADERS.get()
    if read_for is context:
        return read
    found: dict[str, list[str]] = {}
    for name, value in context.invocation_metadata() or ():
        if isinstance(value, str):
            found.setdefault(name, []).append(value)
    _HEADERS.set((context, found))
    return found


def caller() -> Caller:
    """Who is calling."""
    return CALLER.get()


def calling_wallet() -> Wallet:
    """The wallet that is calling; rejects callers without one."""
    known = CALLER.get()
    if known.wallet is None:
        raise Rejected(WalletMissing(known.tier))
    return known.wallet
