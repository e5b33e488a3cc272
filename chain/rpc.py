"""One RPC endpoint: solana-py's connection pool with our timeouts, bounded retries, and two kinds of "no".

An outage (`ChainUnavailable`) says nothing about the request; a refusal (`RpcRefused`) is the node's own answer. The
provider of solana-py is used rather than its client, because the client cannot ask with `minContextSlot`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, TypeVar
from urllib.parse import urlsplit

import httpx
from solana.exceptions import SolanaRpcException
from solana.rpc.core import RPCException
from solana.rpc.providers.async_http import AsyncHTTPProvider
from solders.errors import SerdeJSONError
from solders.rpc.errors import (
    BlockStatusNotAvailableYetMessage,
    InternalErrorMessage,
    MinContextSlotNotReachedMessage,
    NodeUnhealthyMessage,
)
from solders.rpc.requests import Body
from solders.rpc.responses import RPCResult

R = TypeVar("R", bound=RPCResult)
Sleep = Callable[[float], Awaitable[None]]

_TRANSIENT = (
    BlockStatusNotAvailableYetMessage,
    InternalErrorMessage,
    MinContextSlotNotReachedMessage,
    NodeUnhealthyMessage,
)
"""Answers that mean "not now": a node that lags, restarts or stumbled."""

RETRY_AFTER_S_MAX = 10.0
"""Longest Retry-After that is obeyed literally; a node that asks for more is asked again after this."""


@dataclass(frozen=True, slots=True)
class RpcSettings:
    """How patient one request is."""

    url: str
    timeout_s: float = 5.0
    attempts_max: int = 3
    backoff_s: float = 0.2
    """Wait after the first failed attempt; each further one doubles it."""


@dataclass(frozen=True, slots=True)
class OutageFacts:
    """What is known of an outage. `endpoint` has no path and no query, where providers put their keys."""

    endpoint: str
    method: str
    attempts: int
    fault: str
    retry_after_s: float | None = None


class ChainUnavailable(Exception):
    """The chain did not answer; whether a request took effect is unknown."""

    def __init__(self, facts: OutageFacts) -> None:
        super().__init__(f"{facts.method} at {facts.endpoint}: {facts.fault} ({facts.attempts} attempts)")
        self.facts = facts


class RpcRefused(Exception):
    """The node answered with an error; `answer` is solders' message object."""

    def __init__(self, method: str, answer: Any) -> None:
        super().__init__(f"{method}: {getattr(answer, 'message', answer)}")
        self.method = method
        self.answer = answer


class Rpc:
    """Asks one endpoint; safe for many tasks at once, one pool of connections for all."""

    def __init__(self, settings: RpcSettings, sleep: Sleep = asyncio.sleep) -> None:
        self._settings = settings
        self._sleep = sleep
        self._provider = AsyncHTTPProvider(settings.url, timeout=settings.timeout_s)
        self.endpoint = _without_secrets(settings.url)

    async def close(self) -> None:
        """Close the pool."""
        await self._provider.close()

    async def ask(self, body: Body, parser: type[R]) -> R:
        """Ask and, on an outage, ask again with growing pauses; for requests that change nothing.

        Raises `RpcRefused` at once, `ChainUnavailable` after `attempts_max`.
        """
        pause_s = self._settings.backoff_s
        for attempt in range(1, self._settings.attempts_max):
            try:
                return await self.ask_once(body, parser, attempt)
            except ChainUnavailable as outage:
                await self._sleep(max(pause_s, outage.facts.retry_after_s or 0.0))
                pause_s *= 2
        return await self.ask_once(body, parser, self._settings.attempts_max)

    async def ask_once(self, body: Body, parser: type[R], attempt: int = 1) -> R:
        """Ask exactly once; for sending, where the caller decides what a lost answer means."""
        method = type(body).__name__
        try:
            return await self._provider.make_request(body, parser)
        except RPCException as refusal:
            answer = refusal.args[0]
            if isinstance(answer, _TRANSIENT):
                raise self._outage(method, attempt, str(getattr(answer, "message", answer))) from refusal
            raise RpcRefused(method, answer) from refusal
        except SolanaRpcException as failure:
            raise self._outage(method, attempt, *_fault(failure.__cause__)) from failure
        except SerdeJSONError as failure:
            raise self._outage(method, attempt, "the answer is not JSON-RPC") from failure

    def _outage(self, method: str, attempts: int, fault: str, retry_after_s: float | None = None) -> ChainUnavailable:
        return ChainUnavailable(OutageFacts(self.endpoint, method, attempts, fault, retry_after_s))


def _fault(cause: BaseException | None) -> tuple[str, float | None]:
    if isinstance(cause, httpx.HTTPStatusError):
        return f"HTTP {cause.response.status_code}", _retry_after_s(cause.response)
    return type(cause).__name__, None


def _retry_after_s(response: httpx.Response) -> float | None:
    text = response.headers.get("Retry-After", "")
    return min(float(text), RETRY_AFTER_S_MAX) if text.isascii() and text.isdigit() else None


def _without_secrets(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.hostname}" + (f":{parts.port}" if parts.port else "")
