"""Outages of PostgreSQL and Redis as the gRPC server's and identity's own, with the time a breaker keeps all off."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from chain.breaker import BreakerOpen
from storage.outages import StorageUnavailable


@contextmanager
def retold(kind: Callable[[str, float | None], Exception]) -> Iterator[None]:
    """Raise `kind`, made of the outage's words and of how long nobody will ask (None: unknown), for any outage."""
    try:
        yield
    except StorageUnavailable as outage:
        raise kind(str(outage), outage.retry_after_s) from outage
    except BreakerOpen as refusal:
        raise kind(str(refusal), refusal.wait_s) from refusal
