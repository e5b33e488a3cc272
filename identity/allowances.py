"""How much a caller may ask: calls a minute by tier, counted for all servers, leased in blocks so that few calls wait.

A server takes some of what is left of a caller's minute from the shared count and spends it by itself (decisions A9).
All servers together never let more through than the limit; what a server leased and did not spend is lost to the others
until the minute ends, a fifth of what was left at most.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from identity.callers import Tier
from identity.ports import CallCounts

WINDOW_S = 60
LEASED_PART = 5
"""A lease is a fifth of what is left: 20 of 100, then 16, and one at a time near the end; 17 leases for 100 calls."""
CALLERS_MAX = 100_000
"""Callers remembered in one server, about 40 MB; whoever was seen first is forgotten and leases anew."""


@dataclass(frozen=True, slots=True)
class Standing:
    """What is left of a caller's minute after this call; `reset_s` until it is whole again, 1 to 60."""

    limit: int
    remaining: int
    reset_s: int
    is_admitted: bool


@dataclass(slots=True)
class _Lease:
    window: int
    left: int
    shared_left: int


class Allowances:
    """Spends leases; asks the shared count for another when one is spent. A limit of 0 means none."""

    def __init__(
        self,
        counts: CallCounts,
        limits: Mapping[Tier, int],
        wall_s: Callable[[], float],
        callers_max: int = CALLERS_MAX,
    ) -> None:
        """`wall_s` is Unix seconds: the minutes of all servers are the same ones."""
        self._counts = counts
        self._limits = limits
        self._wall_s = wall_s
        self._callers_max = callers_max
        self._leases: dict[str, _Lease] = {}
        self._leasing: dict[str, asyncio.Task[None]] = {}

    def spend(self, tier: Tier, caller: str) -> Standing | None:
        """Count one call if that takes no asking; None means: `lease` first. `caller` is unique over all tiers."""
        limit = self._limits[tier]
        now_s = self._wall_s()
        window = int(now_s) // WINDOW_S
        lease = self._leases.get(caller)
        if lease is None or lease.window != window:
            return None
        reset_s = WINDOW_S - int(now_s) % WINDOW_S
        if lease.left > 0:
            lease.left -= 1
            return Standing(limit, lease.left + lease.shared_left, reset_s, is_admitted=True)
        return None if lease.shared_left else Standing(limit, 0, reset_s, is_admitted=False)

    def is_limited(self, tier: Tier) -> bool:
        """Whether this tier has a limit at all."""
        return self._limits[tier] > 0

    async def take(self, tier: Tier, caller: str) -> Standing:
        """Count one call, leasing first if need be; calls of one caller wait for one lease together."""
        while (standing := self.spend(tier, caller)) is None:
            leasing = self._leasing.get(caller)
            if leasing is None:
                leasing = self._leasing[caller] = asyncio.create_task(self._lease(self._limits[tier], caller))
                leasing.add_done_callback(lambda _: self._leasing.pop(caller, None))
            await asyncio.shield(leasing)
        return standing

    async def _lease(self, limit: int, caller: str) -> None:
        window = int(self._wall_s()) // WINDOW_S
        known = self._leases.pop(caller, None)
        left = known.shared_left if known is not None and known.window == window else limit
        block = max(left // LEASED_PART, 1)
        counted = await self._counts.add(f"{caller}:{window}", block, WINDOW_S)
        granted = min(block, max(limit - (counted - block), 0))
        while len(self._leases) >= self._callers_max:
            del self._leases[next(iter(self._leases))]
        self._leases[caller] = _Lease(window, granted, max(limit - counted, 0))
