"""Breakers of what the gRPC server leans on: one for each dependency, all by the same settings (T71, T72)."""

from __future__ import annotations

from app import clock
from app.config import Settings
from chain.breaker import Breaker


def breaker(settings: Settings, *outages: type[BaseException]) -> Breaker:
    """A closed breaker that counts `outages`: opens at the fifth in a row, lets one probe through after a minute."""
    return Breaker(clock.monotonic_s, outages, settings.breaker_failures, settings.dependency_breaker_s)
