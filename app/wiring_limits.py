"""How calls are limited: by counts in Redis, behind a breaker, or by this server's own while Redis is away."""

from __future__ import annotations

from app import clock
from app.breakers import Breakers
from app.config import Settings
from app.metrics import LIMIT_FALLBACKS, LIMITS_LOCAL
from app.wiring import redis_url
from chain.breaker import BreakerOpen
from grpc_server import CallLimits
from identity import Allowances, Tier
from storage.call_counts import CountsUnavailable, OwnCounts, SharedCounts
from storage.database import Guard
from storage.redis_client import OutageLog


class Counts:
    """Shared counts, or own ones at once while the guard keeps Redis from being asked."""

    def __init__(self, shared: SharedCounts, guard: Guard) -> None:
        self._shared = shared
        self._own = OwnCounts()
        self._guard = guard
        self._outage = OutageLog("limits", "every server limits calls by itself")

    async def add(self, key: str, calls: int, ttl_s: int) -> int:
        """Add to a count and return what it comes to."""
        try:
            with self._guard():
                counted = await self._shared.add(key, calls, ttl_s)
        except (CountsUnavailable, BreakerOpen) as outage:
            self._outage.failed(outage)
            LIMITS_LOCAL.set(1)
            LIMIT_FALLBACKS.inc()
            return await self._own.add(key, calls, ttl_s)
        self._outage.answered()
        LIMITS_LOCAL.set(0)
        return counted


def call_limits(settings: Settings, breakers: Breakers) -> tuple[CallLimits, SharedCounts]:
    """The limits of the settings, and what is to be closed; operators have the limit of services."""
    shared = SharedCounts(redis_url(settings))
    limits = {
        Tier.ANONYMOUS: settings.limit_anonymous_per_min,
        Tier.WALLET: settings.limit_wallet_per_min,
        Tier.SERVICE: settings.limit_service_per_min,
        Tier.ADMIN: settings.limit_service_per_min,
    }
    allowances = Allowances(Counts(shared, breakers.asking_redis), limits, clock.wall_s)
    return CallLimits(allowances, settings.proxies), shared
