"""Calls a minute: by address for the nameless, by wallet or service key for the rest; told in headers either way."""

from __future__ import annotations

from typing import Any

from grpc_server.addresses import Networks, origin
from grpc_server.calls import CALLER, LIMIT_HEADERS, REQUEST_ID, Behaviour, Context
from grpc_server.interceptors import values
from grpc_server.methods import Policy
from grpc_server.metrics import LIMITED_CALLS
from grpc_server.naming import REQUEST_ID_KEY
from grpc_server.problems import RateLimited, Rejected
from identity import ANONYMOUS, Allowances, Caller, Standing, Tier

TRANSCODED_KEY = "x-envoy-original-path"
"""Envoy adds it when it makes a call of a REST request; such an answer loses its trailers."""

_COUNTED = {
    (tier, is_admitted): LIMITED_CALLS.labels(tier.name, "admitted" if is_admitted else "refused")
    for tier in Tier
    for is_admitted in (True, False)
}
"""Looked up once: a lookup takes longer than the count."""


class CallLimits:
    """Refuses what is above a caller's limit; stands behind identity, which says whose limit it is (T69)."""

    def __init__(self, allowances: Allowances, proxies: Networks) -> None:
        self._allowances = allowances
        self._proxies = proxies

    def around(self, method: str, policy: Policy, inner: Behaviour) -> Behaviour:  # noqa: ARG002 - the policy says it
        """Count the call."""
        if not policy.limited:
            return inner
        is_stream = policy.deadline_s is None

        async def counted(request: Any, context: Context) -> Any:
            await self._count(CALLER.get(), context, is_stream)
            return await inner(request, context)

        return counted

    async def count_denied(self, context: Context) -> None:
        """Count a call with bad credentials by its address: guessing is no faster than asking without a name."""
        await self._count(ANONYMOUS, context)

    async def _count(self, caller: Caller, context: Context, is_stream: bool = False) -> None:
        if not self._allowances.is_limited(caller.tier):
            return
        name = self._name(caller, context)
        standing = self._allowances.spend(caller.tier, name) or await self._allowances.take(caller.tier, name)
        _COUNTED[caller.tier, standing.is_admitted].inc()
        await _tell(context, standing, is_stream)
        if not standing.is_admitted:
            raise Rejected(RateLimited(caller.tier, standing.limit, standing.reset_s))

    def _name(self, caller: Caller, context: Context) -> str:
        if caller.tier is Tier.ANONYMOUS:
            return f"address:{origin(context.peer(), values(context, 'x-forwarded-for'), self._proxies)}"
        return f"{caller.tier.name}:{caller.wallet or caller.credential_id}"


async def _tell(context: Context, standing: Standing, is_stream: bool) -> None:
    """Trailers for gRPC, because they are free; headers for REST, whose answers have nothing else.

    A refusal has no answer, so its trailers become the headers of its only frame. So does an error of a stream, unless
    headers went ahead: Envoy would have made 200 of them before it hears of the error.
    """
    told = limit_headers(standing)
    LIMIT_HEADERS.set(told)
    context.set_trailing_metadata((*told, (REQUEST_ID_KEY, REQUEST_ID.get())))
    if standing.is_admitted and not is_stream and values(context, TRANSCODED_KEY):
        await context.send_initial_metadata(told)


def limit_headers(standing: Standing) -> tuple[tuple[str, str], ...]:
    """RateLimit-* as in the IETF's draft (03)."""
    return (
        ("ratelimit-limit", str(standing.limit)),
        ("ratelimit-remaining", str(standing.remaining)),
        ("ratelimit-reset", str(standing.reset_s)),
    )
