"""The only file that reads a clock; everything else is handed one."""

from __future__ import annotations

import time
from datetime import UTC, datetime


def wall_s() -> float:
    """Unix seconds."""
    return time.time()


def monotonic_s() -> float:
    """Seconds of a clock that never goes back."""
    return time.monotonic()


def utc_now() -> datetime:
    """The current time, aware, in UTC."""
    return datetime.now(UTC)
