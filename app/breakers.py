"""What keeps the gRPC server from asking a dependency that fails: breakers for PostgreSQL and Redis (T71, T72).

The inbox of webhooks has connections of its own to PostgreSQL and a breaker of its own: when reads wait in vain for one
of theirs, the inbox still has some.

The chain's endpoints have theirs in `chain/endpoints.py`. All of them are shown by GetHealth.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager

from app import clock
from app.config import Settings
from app.metrics import DEPENDENCY_BREAKER_OPEN
from chain.breaker import Breaker, BreakerOpen
from storage.call_counts import CountsUnavailable
from storage.outages import StorageUnavailable

_SHUTTING_DOWN = "57P"
_REFUSED_FOR_WANT = "53"
_CONNECTION_LOST = "08"


class _Silent(Exception):
    """The database did not answer, or said that it cannot; wraps what was raised."""

    def __init__(self, outage: StorageUnavailable) -> None:
        self.outage = outage


class Breakers:
    """Closed at first; each opens at the fifth failure in a row and lets one probe through after its time."""

    def __init__(self, settings: Settings) -> None:
        times = (settings.breaker_failures, settings.dependency_breaker_s)
        self.redis = Breaker(clock.monotonic_s, (CountsUnavailable, StorageUnavailable), *times)
        self.database = Breaker(clock.monotonic_s, (_Silent,), *times)
        self.inbox = Breaker(clock.monotonic_s, (_Silent,), *times)
        self._shown: dict[str, bool] = {}
        self._show()

    def states(self) -> Mapping[str, bool]:
        """Which are open, by the name of the dependency."""
        return {"redis": self.redis.is_open, "database": self.database.is_open, "inbox": self.inbox.is_open}

    def _show(self) -> None:
        """To Prometheus, when something has changed: each statement comes by here."""
        states = self.states()
        for name in (name for name in states if states[name] != self._shown.get(name)):
            DEPENDENCY_BREAKER_OPEN.labels(name).set(states[name])
        self._shown = dict(states)

    def asking_database(self) -> AbstractContextManager[None]:
        """Around one statement; raises StorageUnavailable at once while nobody may ask. SQL errors are answers."""
        return self._asking(self.database)

    def asking_inbox(self) -> AbstractContextManager[None]:
        """The same over the inbox's connections."""
        return self._asking(self.inbox)

    @contextmanager
    def _asking(self, breaker: Breaker) -> Iterator[None]:
        try:
            with breaker.attempt():
                try:
                    yield
                except StorageUnavailable as outage:
                    if _is_answer(outage):
                        raise
                    raise _Silent(outage) from outage
        except _Silent as silent:
            raise silent.outage from silent.outage.__cause__
        except BreakerOpen as refusal:
            raise StorageUnavailable("ask", str(refusal), retry_after_s=refusal.wait_s) from refusal
        finally:
            self._show()

    @contextmanager
    def asking_redis(self) -> Iterator[None]:
        """Around one exchange; raises BreakerOpen at once while nobody may ask."""
        try:
            with self.redis.attempt():
                yield
        finally:
            self._show()


def _is_answer(outage: StorageUnavailable) -> bool:
    code = outage.sqlstate
    return code is not None and not code.startswith((_SHUTTING_DOWN, _REFUSED_FOR_WANT, _CONNECTION_LOST))
