"""GetHealth: how the parts are that this system stands on, in the words of the specification (T76, decisions P10)."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

import structlog
from grpc.aio import ServicerContext

from grpc_server.traffic import Traffic
from zmart.v1 import ops_service_pb2 as pb

PROBE_S_MAX = 1.0
"""A part that has not answered by then is in error."""
KEPT_S = 2.0
"""How long an answer is given again: however many ask, each part is looked at once in this time."""
STATUS_HEADER = "x-zmart-health"
"""The front door turns `unhealthy` here into HTTP 503; a transcoded answer has no other way to say it."""

Probe = Callable[[], Awaitable[object]]
log = structlog.get_logger("health")


@dataclass(frozen=True, slots=True)
class HealthParts:
    """What is looked at. A probe that raises, or takes longer than PROBE_S_MAX, says that its part is in error."""

    database: Probe
    redis: Probe
    solana_rpc: Probe
    event_indexer: Probe
    open_connections: Callable[[], int]
    breakers: Callable[[], Mapping[str, bool]]
    """Whether the circuit breaker of each dependency is open."""


class Health:
    """Looks at the parts when asked, at most once in KEPT_S; a part that changes is logged once."""

    def __init__(self, parts: HealthParts, traffic: Traffic, monotonic_s: Callable[[], float]) -> None:
        self._parts = parts
        self._traffic = traffic
        self._monotonic_s = monotonic_s
        self._began_at_s = monotonic_s()
        self._looked_at_s = -KEPT_S
        self._errors: dict[str, str] = {}
        self._looking = asyncio.Lock()

    async def answer(self, context: ServicerContext[Any, Any]) -> pb.GetHealthResponse:
        """The state of everything, with a header that says it too."""
        await self._look()
        status = status_of(self._errors)
        await context.send_initial_metadata(((STATUS_HEADER, status),))
        words = {name: "error" if name in self._errors else "ok" for name in self._probes()}
        breakers = self._parts.breakers()
        return pb.GetHealthResponse(
            status=status,
            services=pb.ServiceHealth(**words),
            metrics=self._figures(),
            breakers=[pb.BreakerHealth(name=name, open=breakers[name]) for name in sorted(breakers)],
        )

    def _probes(self) -> dict[str, Probe]:
        parts = self._parts
        return {
            "database": parts.database,
            "redis": parts.redis,
            "solana_rpc": parts.solana_rpc,
            "event_indexer": parts.event_indexer,
        }

    async def _look(self) -> None:
        async with self._looking:  # those who come meanwhile take what this one finds
            if self._monotonic_s() - self._looked_at_s < KEPT_S:
                return
            probes = self._probes()
            faults = await asyncio.gather(*(_fault(probe) for probe in probes.values()))
            errors = {name: fault for name, fault in zip(probes, faults, strict=True) if fault is not None}
            for name in errors.keys() - self._errors.keys():
                log.warning("part in error", part=name, why=errors[name])
            for name in self._errors.keys() - errors.keys():
                log.info("part is well again", part=name)
            self._errors, self._looked_at_s = errors, self._monotonic_s()

    def _figures(self) -> pb.HealthMetrics:
        requests, share = self._traffic.last_minute()
        return pb.HealthMetrics(
            uptime_seconds=int(self._monotonic_s() - self._began_at_s),
            active_connections=self._parts.open_connections(),
            requests_per_minute=requests,
            error_rate=share,
        )


def status_of(errors: Mapping[str, object]) -> str:
    """Without the database nothing can be promised; without another part some things come later."""
    if "database" in errors:
        return "unhealthy"
    return "degraded" if errors else "healthy"


async def _fault(probe: Probe) -> str | None:
    """What a part says against itself; its words go to the log only."""
    try:
        async with asyncio.timeout(PROBE_S_MAX):
            await probe()
    except Exception as fault:
        return f"{type(fault).__name__}: {fault}"
    return None
