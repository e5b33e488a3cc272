"""How often `zmart up` had to start a role again, and people who hear of one that does not stay up."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable

from domain.journal import AlertNote
from storage.alerts import AlertQueue
from storage.database import database_pool
from storage.outages import StorageUnavailable

WITHIN_S = 600.0
LOSSES_HEARD = 5
"""So many losses of one role within ten minutes are no accident, as for a shard (actors/nursery.py)."""
STORE_S = 1.0
"""The longest try to store an alert; the roles must go on being watched meanwhile."""

log = logging.getLogger(__name__)


class Restarts:
    """Counts the losses of each role; what is to be told waits here, the newest of each role, until it is stored."""

    def __init__(self, raise_alert: Callable[[AlertNote], Awaitable[None]], clock: Callable[[], float]) -> None:
        self._raise = raise_alert
        self._clock = clock
        self._lost_at_s: dict[str, deque[float]] = {}
        self._untold: dict[str, AlertNote] = {}

    def lost(self, role: str) -> None:
        """The role's process has ended, and it will be started again."""
        now_s = self._clock()
        times = self._lost_at_s.setdefault(role, deque(maxlen=LOSSES_HEARD))
        times.append(now_s)
        if len(times) == LOSSES_HEARD and now_s - times[0] <= WITHIN_S:
            data = {"role": role, "losses": str(LOSSES_HEARD), "within_s": f"{WITHIN_S:.0f}"}
            self._untold[role] = AlertNote("role_restarting", "HIGH", f"role_restarting:{role}", None, data)

    @property
    def has_news(self) -> bool:
        """Whether anything is to be told."""
        return bool(self._untold)

    async def tell(self) -> None:
        """Store what is to be told; it waits during an outage, for the lost role may be the database."""
        for role, note in list(self._untold.items()):
            try:
                async with asyncio.timeout(STORE_S):
                    await self._raise(note)
            except (StorageUnavailable, TimeoutError) as outage:
                log.warning("%s keeps ending, and the alert is not stored yet: %s", role, outage)
                return
            del self._untold[role]


async def store_alert(database_url: str, note: AlertNote) -> None:
    """One alert by a connection of its own: whoever starts processes holds none. Raises StorageUnavailable."""
    database = await database_pool(database_url, 1, "zmart-up")
    try:
        await AlertQueue(database).raise_alert(note)
    finally:
        await database.close()
