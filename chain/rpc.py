"""One RPC endpoint: solana-py's connection pool with our timeouts, bounded retries, and two kinds of "no".

An outage (`ChainUnavailable`) says nothing about the request; a refusal (`RpcRefused`) is the node's own answer. The
provider of solana-py is used rather than its client, because the client cannot ask with `minContextSlot`.
`endpoints.py` puts several of these behind one `Asking`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar
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

_BEHIND = (BlockStatusNotAvailableYetMessage, MinContextSlotNotReachedMessage, NodeUnhealthyMessage)
"""Answers of a node that works but has not caught up; it refused before it did anything."""
_DOWN = (InternalErrorMessage,)
"""Answers of a node that stumbled."""
_NEVER_ARRIVED = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout)
TOO_MANY_REQUESTS = 429
PANIC = "PanicException"
"""What Rust code raises that meets the unforeseen, a BaseException: solders does for an error without its `data`."""

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
    """The chain did not answer; whether a request took effect is unknown, unless `had_no_effect`."""

    had_no_effect = False

    def __init__(self, facts: OutageFacts) -> None:
        super().__init__(f"{facts.method} at {facts.endpoint}: {facts.fault} ({facts.attempts} attempts)")
        self.facts = facts


class EndpointDown(ChainUnavailable):
    """No answer, or one that a working node does not give; `never_arrived` when it was not even connected to."""

    def __init__(self, facts: OutageFacts, never_arrived: bool = False) -> None:
        super().__init__(facts)
        self.had_no_effect = never_arrived


class EndpointBusy(ChainUnavailable):
    """HTTP 429: it wants less of us, until `facts.retry_after_s` has passed."""

    had_no_effect = True


class EndpointBehind(ChainUnavailable):
    """It lags behind the slot that was asked for, or behind its cluster."""

    had_no_effect = True


class RpcRefused(Exception):
    """The node answered with an error; `answer` is solders' message object."""

    def __init__(self, method: str, answer: Any) -> None:
        super().__init__(f"{method}: {getattr(answer, 'message', answer)}")
        self.method = method
        self.answer = answer


class Provider(Protocol):
    """What of solana-py's provider is used."""

    async def make_request(self, body: Any, parser: Any) -> Any:
        """POST `body.to_json()`; the answer goes through `parser.from_json`."""
        ...

    async def close(self) -> None:
        """Close its connections."""
        ...


class Asking(Protocol):
    """One endpoint, or several that stand in for each other. All raise `ChainUnavailable` and `RpcRefused`."""

    @property
    def endpoint(self) -> str:
        """Where it asks, without secrets."""
        ...

    async def ask(self, body: Body, parser: type[R]) -> R:
        """Ask and, on an outage, ask again; for requests that change nothing."""
        ...

    async def ask_once(self, body: Body, parser: type[R]) -> R:
        """Ask exactly once; for sending, where the caller decides what a lost answer means."""
        ...

    async def ask_each(self, body: Body, parser: type[R]) -> list[R]:
        """Ask every endpoint that can be asked now; at least one has answered when this returns."""
        ...

    async def close(self) -> None:
        """Close all connections."""
        ...


class Rpc:
    """Asks one endpoint; safe for many tasks at once, one pool of connections for all."""

    def __init__(self, settings: RpcSettings, sleep: Sleep = asyncio.sleep, provider: Provider | None = None) -> None:
        self._settings = settings
        self._sleep = sleep
        self._provider: Provider = provider or AsyncHTTPProvider(settings.url, timeout=settings.timeout_s)
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
            answer: R = await self._provider.make_request(body, parser)
        except RPCException as refusal:
            raise self._meaning(method, attempt, refusal.args[0]) from refusal
        except SolanaRpcException as failure:
            raise self._fault(method, attempt, failure.__cause__) from failure
        except SerdeJSONError as failure:
            raise EndpointDown(self._facts(method, attempt, "the answer is not JSON-RPC")) from failure
        except BaseException as failure:
            if type(failure).__name__ != PANIC:
                raise
            raise EndpointDown(self._facts(method, attempt, "the answer is not JSON-RPC")) from failure
        return answer

    async def ask_each(self, body: Body, parser: type[R]) -> list[R]:
        """The one answer there is."""
        return [await self.ask(body, parser)]

    def _meaning(self, method: str, attempt: int, answer: Any) -> ChainUnavailable | RpcRefused:
        facts = self._facts(method, attempt, str(getattr(answer, "message", answer)))
        if isinstance(answer, _BEHIND):
            return EndpointBehind(facts)
        return EndpointDown(facts) if isinstance(answer, _DOWN) else RpcRefused(method, answer)

    def _fault(self, method: str, attempt: int, cause: BaseException | None) -> ChainUnavailable:
        if not isinstance(cause, httpx.HTTPStatusError):
            facts = self._facts(method, attempt, type(cause).__name__)
            return EndpointDown(facts, never_arrived=isinstance(cause, _NEVER_ARRIVED))
        status = cause.response.status_code
        facts = self._facts(method, attempt, f"HTTP {status}", _retry_after_s(cause.response))
        return EndpointBusy(facts) if status == TOO_MANY_REQUESTS else EndpointDown(facts)

    def _facts(self, method: str, attempts: int, fault: str, retry_after_s: float | None = None) -> OutageFacts:
        return OutageFacts(self.endpoint, method, attempts, fault, retry_after_s)


def _retry_after_s(response: httpx.Response) -> float | None:
    text = response.headers.get("Retry-After", "")
    return min(float(text), RETRY_AFTER_S_MAX) if text.isascii() and text.isdigit() else None


def _without_secrets(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.hostname}" + (f":{parts.port}" if parts.port else "")
