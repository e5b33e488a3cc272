"""VOTING_PROGRESS: how an open vote stands, told on every change and at least every five seconds.

Unnumbered: it may be dropped, and what several changes within a moment would tell is told once. All markets that
somebody follows cost one read together, at most four times a second.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable

from ws_bridge import frames
from ws_bridge.hub import Hub
from ws_bridge.packets import packet
from ws_bridge.ports import Progress

EVERY_S = 5.0
GATHER_S = 0.25

log = logging.getLogger(__name__)


class ProgressTeller:
    """Reads how votes stand and passes it on; a database out of reach means silence until the next turn."""

    def __init__(self, hub: Hub, progress: Progress, wall_s: Callable[[], float]) -> None:
        self._hub, self._progress, self._wall_s = hub, progress, wall_s
        self._changed: set[str] = set()
        self._news = asyncio.Event()

    def changed(self, channels: Iterable[str]) -> None:
        """Messages of these channels have been passed on."""
        followed = [channel for channel in channels if channel.startswith("votes_")]
        if followed:
            self._changed.update(followed)
            self._news.set()

    async def run(self) -> None:
        """Until it is cancelled."""
        loop = asyncio.get_running_loop()
        all_due_s = loop.time()
        while True:
            if loop.time() >= all_due_s:
                all_due_s = loop.time() + EVERY_S
                self._changed.update(topic for topic in self._hub.topics if topic.startswith("votes_"))
            await self._tell()
            await asyncio.sleep(GATHER_S)
            await self._wait(all_due_s - loop.time())

    async def _wait(self, timeout_s: float) -> None:
        try:
            async with asyncio.timeout(max(timeout_s, 0)):
                await self._news.wait()
        except TimeoutError:
            return

    async def _tell(self) -> None:
        changed, self._changed = self._changed, set()
        self._news.clear()
        channels = sorted(changed & set(self._hub.topics))
        if not channels:
            return
        try:
            standings = await self._progress.progress(channels)
        except OSError as error:
            log.info("no progress of votes is told: %s", error)
            return
        for channel, standing in standings.items():
            self._hub.tell(channel, packet(frames.progress(channel, standing, self._wall_s())))
