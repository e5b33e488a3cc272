"""Keeps the tallies in Redis level with PostgreSQL, beside everything else: no vote and no reader waits for it (T5).

What changed, and what a reader found missing, is remembered by market, so many changes are one write. What this process
never heard of (it was dead, Redis came back with old data) is found by a sweep, which compares every tally.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from domain.ids import MarketId
from domain.market import Market
from domain.tally import VoteType
from storage.redis_client import REDIS_TROUBLE, OutageLog, heed_cancellation
from storage.tallies import Advance, StoredTally, TallyName, TallyReads, tallies_of
from storage.tally_cache import NOTHING, WALLETS_MAX, TallyCache, Written


@dataclass(frozen=True, slots=True)
class ProjectorSettings:
    """Rhythm and bounds of a projector."""

    gather_s: float = 0.2
    """Between two turns, so that many changes of a market are one write; the first after a silence does not wait."""
    backoff_s_min: float = 0.1
    backoff_s_max: float = 2.0
    """While Redis or PostgreSQL does not answer."""
    sweep_s: float | None = 600.0
    """All tallies are compared this often, at the start, and after an outage; None: by somebody else."""
    markets_at_once: int = 100
    """Read and written in one turn."""
    changed_max: int = 100_000
    """Markets that wait to be written, some 10 MB; of one more the sweep or a reader has to remind us."""
    read_max: int = 1_000
    """Markets that wait to be compared after a read; what is read beyond that is compared another time."""
    rebuilds_max: int = 3
    """Tries to write tallies as a whole in one turn; somebody who deletes keys in a loop waits for the next."""
    written_max: int = 20_000
    """Tallies whose version in Redis is remembered, some 4 MB; Redis is asked for that of others."""


class TallyProjector:
    """Copies tallies to the cache. `changed` and `was_read` only take notes; `run` works, and waits outages out."""

    def __init__(
        self,
        reads: TallyReads,
        cache: TallyCache,
        settings: ProjectorSettings | None = None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._reads, self._cache = reads, cache
        self._settings = settings or ProjectorSettings()
        self._clock, self._sleep = clock, sleep
        self._changed: dict[MarketId, None] = {}
        self._was_read: dict[MarketId, Market] = {}
        self._written: dict[TallyName, int] = {}
        self._news = asyncio.Event()
        self._sweep_due_s = clock()
        self._outage = OutageLog("tallies", "tallies in Redis are behind, votes go on")

    def changed(self, market_ids: Iterable[MarketId]) -> None:
        """The votes of these markets have changed, in a commit that is over."""
        for market_id in market_ids:
            if len(self._changed) < self._settings.changed_max:
                self._changed[market_id] = None
            self._news.set()

    def was_read(self, market: Market) -> None:
        """Somebody read this market's tallies: if they are missing or wrong in Redis, they are written."""
        if len(self._was_read) < self._settings.read_max:
            self._was_read[market.market_id] = market
        self._news.set()

    async def run(self) -> None:
        """Work until cancelled; outages of either side are waited out, any other error ends it."""
        pause_s = self._settings.backoff_s_min
        while True:
            try:
                await self._turn()
            except REDIS_TROUBLE as outage:
                heed_cancellation()
                self._outage.failed(outage)
                await self._sleep(pause_s)
                pause_s = min(pause_s * 2, self._settings.backoff_s_max)
                continue
            pause_s = self._settings.backoff_s_min
            self._answered()
            await self._rest()

    async def _turn(self) -> None:
        self._news.clear()
        await self._compare()
        if self._settings.sweep_s is not None and self._clock() >= self._sweep_due_s:
            await self._sweep()
            self._sweep_due_s = self._clock() + self._settings.sweep_s
        changed, step = list(self._changed), self._settings.markets_at_once
        for start in range(0, len(changed), step):
            await self._write_all(changed[start : start + step])

    def _answered(self) -> None:
        """After an outage Redis may hold older data than before it."""
        if self._outage.is_out:
            self._sweep_due_s = self._clock()
            self._news.set()
        self._outage.answered()

    async def _rest(self) -> None:
        await self._sleep(self._settings.gather_s)
        due_s = self._sweep_due_s - self._clock() if self._settings.sweep_s is not None else None
        try:
            async with asyncio.timeout(None if due_s is None else max(due_s, 0.0)):
                await self._news.wait()
        except TimeoutError:
            return  # a sweep is due

    async def _compare(self) -> None:
        if not self._was_read:
            return
        read, self._was_read = self._was_read, {}
        tallies = [tally for market in read.values() for tally in tallies_of(market)]
        await self._note_faults(tallies, missing=True)

    async def _sweep(self) -> None:
        """Compare what is in Redis with every market; what is not there sleeps on."""
        after = MarketId("")
        while tallies := await self._reads.page(after, self._settings.markets_at_once):
            await self._note_faults(tallies, missing=False)
            after = tallies[-1].name.market_id

    async def _note_faults(self, tallies: list[StoredTally], *, missing: bool) -> None:
        self.changed([name.market_id for name in await self._cache.faults(tallies, missing=missing)])

    async def _write_all(self, ids: list[MarketId]) -> None:
        """Write these markets; should it fail, all of them wait for the next turn."""
        for market_id in ids:
            del self._changed[market_id]
        try:
            await self._write([TallyName(market_id, kind) for market_id in ids for kind in VoteType])
        except BaseException:
            self.changed(ids)
            raise

    async def _write(self, names: list[TallyName]) -> None:
        gaps = await self._advance(await self._since(names))
        for _ in range(self._settings.rebuilds_max):
            if not gaps:
                return
            gaps = await self._advance(dict.fromkeys(gaps, NOTHING))
        self.changed([name.market_id for name in gaps])

    async def _since(self, names: list[TallyName]) -> dict[TallyName, int]:
        """What Redis is thought to hold of each: as it was left, or asked for. Whatever is wrong about it is a GAP."""
        unknown = [name for name in names if name not in self._written]
        asked = dict(zip(unknown, await self._cache.versions(unknown), strict=True))
        return {name: asked[name] if name in asked else self._written[name] for name in names}

    async def _advance(self, known: Mapping[TallyName, int]) -> list[TallyName]:
        """Write what came since; those of which something is missing in Redis have to be written as a whole."""
        advances = await self._reads.since(known, WALLETS_MAX + 1)
        small = [advance for advance in advances if len(advance.wallets) <= WALLETS_MAX]
        gaps = self._ended(small, await self._cache.advance(small))
        for advance in advances:
            if len(advance.wallets) > WALLETS_MAX:
                gaps += self._ended([advance], [await self._replace(advance)])
        return gaps

    async def _replace(self, advance: Advance) -> Written:
        if advance.since != NOTHING:
            return Written.GAP
        return await self._cache.replace(advance.tally, self._reads.wallets(advance.tally))

    def _ended(self, advances: Sequence[Advance], answers: Sequence[Written]) -> list[TallyName]:
        """Remember how Redis was left; look at a whole again, for a newer one may have come and gone before it."""
        for (tally, since, _), answer in zip(advances, answers, strict=True):
            self._written.pop(tally.name, None)
            if answer is Written.DONE:
                self._written[tally.name] = tally.version
            if answer is not Written.GAP and since == NOTHING:
                self.changed([tally.name.market_id])
        while len(self._written) > self._settings.written_max:
            del self._written[next(iter(self._written))]
        return [advance.tally.name for advance, answer in zip(advances, answers, strict=True) if answer is Written.GAP]
