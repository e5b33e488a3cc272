"""What every call goes through, outermost first: request id, in flight, errors, deadline, identity, limits.

Errors stand near the outside so that whatever the others find wrong is answered with the same care. An interceptor
wraps each method once, at start (`pipeline.py`), by plain coroutines: grpc's own interceptors wrap anew for each call,
and a context manager made of an async generator costs 3 us.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from math import ceil
from typing import Any, Protocol

import structlog
from grpc.aio import AbortError

from grpc_server.calls import CALLER, LIMIT_HEADERS, REQUEST_ID, Behaviour, Context, headers
from grpc_server.methods import Policy
from grpc_server.metrics import IN_FLIGHT
from grpc_server.naming import REQUEST_ID_KEY, RequestIds
from grpc_server.problems import Busy, DeadlineTooShort, Incident, Problem, Rejected, Stopping, TierTooLow, TooSlow
from grpc_server.status import DETAILS_KEY, OUTAGES, retry_after_s, status_of
from identity import ANONYMOUS, Caller, Denial, Doorkeeper, Revocations, Tier

IN_FLIGHT_MAX = 16_384
"""Calls at once, about 150 MB of them; each shard's own queue is bounded by its link."""

DESERTED_S = 0.1
"""Longer than a call waits unseen in grpc while this process is busy with others."""

LEFT_S_MIN = 0.005
"""A call with less left is refused unread: a vote takes 2 ms at best, and its caller would not hear of it."""

log = structlog.get_logger("grpc")


class Interceptor(Protocol):
    """Something that every call is done inside of."""

    def around(self, method: str, policy: Policy, inner: Behaviour) -> Behaviour:
        """What calls of one method do instead of `inner`; `inner` itself where there is nothing to add."""
        ...


class InFlight:
    """Counts the calls under way, refuses more than a bound, and any once it is closed."""

    def __init__(self, in_flight_max: int = IN_FLIGHT_MAX) -> None:
        self._in_flight_max = in_flight_max
        self._idle = asyncio.Event()
        self._idle.set()
        self._closed = False
        self._turned_away = 0
        self._is_shown_soon = False
        self.count = 0

    def around(self, method: str, policy: Policy, inner: Behaviour) -> Behaviour:  # noqa: ARG002 - the same for every
        """Count the call."""

        async def counted(request: Any, context: Context) -> Any:
            if self._closed or self.count >= self._in_flight_max:
                await self._turn_away(context)
            self._move(1)
            try:
                return await inner(request, context)
            finally:
                self._move(-1)

        return counted

    def close(self) -> None:
        """Refuse every call from now on."""
        self._closed = True

    async def drained(self, timeout_s: float) -> int:
        """Wait until no call is under way and return how many still are, 0 unless the time is up."""
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await self._idle.wait()
        return self.count

    async def deserted(self, timeout_s: float) -> None:
        """Wait until for DESERTED_S nobody was turned away, or until the time is up."""
        for _ in range(int(timeout_s / DESERTED_S)):
            before = self._turned_away
            await asyncio.sleep(DESERTED_S)
            if self._turned_away == before:
                return

    def _move(self, calls: int) -> None:
        """Count, and show it once for all that this turn of the event loop moves: to show a number takes 1 us."""
        self.count += calls
        if self.count:
            self._idle.clear()
        else:
            self._idle.set()
        if not self._is_shown_soon:
            self._is_shown_soon = True
            asyncio.get_running_loop().call_soon(self._show)

    def _show(self) -> None:
        self._is_shown_soon = False
        IN_FLIGHT.set(self.count)

    async def _turn_away(self, context: Context) -> None:
        """End the call; never returns."""
        if self._closed:
            self._turned_away += 1
            await end(context, Stopping())
        await end(context, Busy(self._in_flight_max))


class Errors:
    """Turns problems and outages into rich statuses; anything else is a bug: INTERNAL, and the traceback in the log."""

    def __init__(self, new_id: Callable[[], str]) -> None:
        self._new_id = new_id

    def around(self, method: str, policy: Policy, inner: Behaviour) -> Behaviour:  # noqa: ARG002 - the same for every
        """Map what the call raises."""

        async def mapped(request: Any, context: Context) -> Any:
            try:
                return await inner(request, context)
            except AbortError:
                raise
            except Rejected as rejected:
                await end(context, rejected.problem)
            except OUTAGES as outage:
                log.warning("outage", method=method, kind=type(outage).__name__, why=str(outage))
                await end(context, outage)
            except Exception:
                incident = self._new_id()
                log.exception("unhandled", method=method, incident=incident)
                await end(context, Incident(incident))

        return mapped


class Deadlines:
    """Gives a call that has no deadline its method's, and refuses one whose own is over before it could be answered.

    grpc itself watches the caller's own: the call is cancelled then, and with it what it waits for, SQL included.
    """

    def around(self, method: str, policy: Policy, inner: Behaviour) -> Behaviour:  # noqa: ARG002 - the policy says it
        """Limit the call."""
        default_s = policy.deadline_s

        async def limited(request: Any, context: Context) -> Any:
            left_s = context.time_remaining()
            if left_s is not None and left_s < LEFT_S_MIN:
                raise Rejected(DeadlineTooShort(int(LEFT_S_MIN * 1_000)))
            if left_s is not None or default_s is None:
                return await inner(request, context)
            limit = asyncio.timeout(default_s)
            try:
                async with limit:
                    return await inner(request, context)
            except TimeoutError:
                if limit.expired():
                    raise Rejected(TooSlow(default_s)) from None
                raise

        return limited


class Identities:
    """Establishes the caller from `authorization` and `x-service-key`, and holds the method's tier against them."""

    def __init__(
        self, doorkeeper: Doorkeeper, revocations: Revocations, on_denial: Callable[[Context], Awaitable[None]]
    ) -> None:
        """`on_denial` hears of calls with credentials that are none; it may reject them for being too many."""
        self._doorkeeper = doorkeeper
        self._revocations = revocations
        self._on_denial = on_denial

    def around(self, method: str, policy: Policy, inner: Behaviour) -> Behaviour:  # noqa: ARG002 - the policy says it
        """Admit the caller."""
        if not policy.identified:
            return inner

        async def admitted(request: Any, context: Context) -> Any:
            caller = self._admit(policy, context)
            if isinstance(caller, Denial):
                await self._on_denial(context)
                raise Rejected(caller)
            if caller.tier is Tier.ADMIN and policy.tier is not Tier.ANONYMOUS:
                await self._refuse_revoked(caller)
            CALLER.set(caller)
            return await inner(request, context)

        return admitted

    async def _refuse_revoked(self, caller: Caller) -> None:
        """Ask the database each time: operators call seldom, and a revocation must hold at once, on every server."""
        assert caller.credential_id is not None, "tokens of the admin tier have an id"
        if await self._revocations.is_revoked(caller.credential_id):
            raise Rejected(Denial.TOKEN_REVOKED)

    def _admit(self, policy: Policy, context: Context) -> Caller | Denial:
        sent = headers(context)
        tokens, keys = sent.get("authorization", ()), sent.get("x-service-key", ())
        if len(tokens) > 1:
            return Denial.AUTHORIZATION_MALFORMED
        caller = self._doorkeeper.admit(tokens[0] if tokens else None, keys[0] if len(keys) == 1 else None)
        if isinstance(caller, Denial) or caller.tier >= policy.tier:
            return caller
        if caller == ANONYMOUS:
            return Denial.TOKEN_MISSING
        raise Rejected(TierTooLow(policy.tier, caller.tier))


class Limits(Interceptor, Protocol):
    """What holds callers to their limits."""

    async def count_denied(self, context: Context) -> None:
        """Count a call whose credentials were none; raises Rejected for one above the limit of its address."""
        ...


def chain(
    new_id: Callable[[], str],
    in_flight: InFlight,
    doorkeeper: Doorkeeper,
    revocations: Revocations,
    limits: Limits,
    measuring: Interceptor,
    tracing: Interceptor | None = None,
) -> Sequence[Interceptor]:
    """All of them in order: authenticate, then limit, then route (T69)."""
    identities = Identities(doorkeeper, revocations, limits.count_denied)
    traced = (tracing,) if tracing else ()
    return (RequestIds(new_id), *traced, measuring, in_flight, Errors(new_id), Deadlines(), identities, limits)


async def end(context: Context, cause: Problem | Exception) -> None:
    """End the call with the status of `cause`; never returns. Those who speak HTTP read Retry-After."""
    code, status = status_of(cause)
    wait_s = retry_after_s(cause)
    patience = () if wait_s is None else (("retry-after", str(ceil(wait_s))),)
    known = ((REQUEST_ID_KEY, REQUEST_ID.get()), *LIMIT_HEADERS.get(), *patience)
    trailers = ((DETAILS_KEY, status.SerializeToString()), *known)
    await context.abort(code, status.message, trailers)


def values(context: Context, key: str) -> Sequence[str]:
    """Every text that the caller sent under a key, in order."""
    return headers(context).get(key, ())
