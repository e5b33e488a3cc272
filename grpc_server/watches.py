"""Watches: a snapshot, then every change of one market in order, from the rows that were committed with the changes.

One task asks the feed for all watches of this process at once, whenever there is news. A watch only knows how far it
has come; so one that resumes far behind makes the next question begin there, and the others skip what they have.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import suppress
from dataclasses import dataclass

import structlog

from domain.deadlines import Deadline
from domain.feed import FeedNews, ToldChange
from domain.ids import MarketId
from domain.market import Market
from domain.refusals import MarketNotFound
from grpc_server.page_tokens import Place
from grpc_server.ports import MarketFeed, Outage
from grpc_server.problems import Problem, Rejected, ResumeTokenExpired, Stopping, TooManyWatches, WatchTooSlow

BOOKMARK_S = 15.0
"""Silence after which a watch says that it is alive; far below the idle limits of proxies."""
WAITING_MAX = 256
"""Changes that wait for one reader, about 100 KiB; a slower one is ended and may resume."""
WATCHES_MAX = 1_000
"""Watches of one process: each is a share of one query per announcement."""
CHANGES_AT_ONCE_MAX = 128
"""Changes of one market that one question brings; more come with the next one."""
LOOK_S = 5.0
"""The longest time without a question while somebody watches: announcements are hints."""
PAUSE_S = 0.02
"""Between two questions: fifty a second at most, whatever is announced."""
RETRY_S = 1.0

log = structlog.get_logger("grpc")


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The whole market."""

    market: Market
    deadline: Deadline | None


@dataclass(frozen=True, slots=True)
class Bookmark:
    """Nothing has changed for a while."""


@dataclass(frozen=True, slots=True)
class Told:
    """One message of a watch, and the place to go on from: the number and the stored history that it counts in."""

    place: Place
    what: Snapshot | ToldChange | Bookmark


class Watches:
    """All watches of this process."""

    def __init__(self, feed: MarketFeed, bookmark_s: float = BOOKMARK_S, watches_max: int = WATCHES_MAX) -> None:
        self._feed = feed
        self._bookmark_s = bookmark_s
        self._watches_max = watches_max
        self._open: set[_Watch] = set()
        self._joined = asyncio.Event()
        self._is_current = True
        self._stopped = False
        self._teller: asyncio.Task[None] | None = None

    async def messages(self, market_id: MarketId, place: Place | None) -> AsyncGenerator[Told, None]:
        """Everything after `place`, or a snapshot and everything after it, without a gap; never ends by itself.

        Rejects with ResumeTokenExpired, WatchTooSlow, TooManyWatches, Stopping, and MarketNotFound for a market that is
        not known here.
        """
        if len(self._open) >= self._watches_max:
            raise Rejected(TooManyWatches(self._watches_max))
        watch = _Watch(market_id)
        self._open.add(watch)
        try:
            yield await self._first(watch, place)
            self._begin()
            while True:
                told = await watch.next(self._bookmark_s)
                if told is not None:
                    yield Told((told.seq, watch.epoch), told)
                elif self._is_current:
                    yield Told((watch.seq, watch.epoch), Bookmark())
        finally:
            self._open.discard(watch)

    def stop(self) -> None:
        """Every watch ends with SERVER_STOPPING, after what waits for it."""
        self._stopped = True
        for watch in self._open:
            watch.end(Stopping())

    async def close(self) -> None:
        """Ask nothing more."""
        if self._teller is not None:
            self._teller.cancel()
            await asyncio.wait({self._teller})

    async def _first(self, watch: _Watch, place: Place | None) -> Told:
        found = await self._feed.now(watch.market_id)
        if found is None:
            raise Rejected(MarketNotFound(watch.market_id))
        epoch, market, deadline = found
        if place is None:
            watch.join(market.market_seq, epoch)
            return Told((market.market_seq, epoch), Snapshot(market, deadline))
        seq, history = place
        if history != epoch or seq > market.market_seq:
            raise Rejected(ResumeTokenExpired(watch.market_id))
        watch.join(seq, epoch, told_by_now=market.market_seq)
        return Told(place, Bookmark())

    def _begin(self) -> None:
        self._joined.set()
        if self._teller is None or self._teller.done():
            self._teller = asyncio.create_task(self._tell(), name="teller of watches")
        if self._stopped:
            self.stop()

    async def _tell(self) -> None:
        while True:
            try:
                while await self._round():
                    pass
                await self._news()
                self._is_current = True
            except Outage as outage:
                log.warning("watches wait", why=str(outage))
                self._is_current = False
                await asyncio.sleep(RETRY_S)
            await asyncio.sleep(PAUSE_S)

    async def _round(self) -> bool:
        """Ask once and hand out; whether there may be more already."""
        self._joined.clear()
        asking = [watch for watch in self._open if watch.is_live]
        if not asking:
            return False
        seqs: dict[MarketId, int] = {}
        for watch in asking:
            seqs[watch.market_id] = min(watch.seq, seqs.get(watch.market_id, watch.seq))
        news = await self._feed.since(seqs, CHANGES_AT_ONCE_MAX)
        by_market: dict[MarketId, list[ToldChange]] = {}
        for change in news.changes:
            by_market.setdefault(change.market_id, []).append(change)
        for watch in asking:  # not those that came meanwhile: the question did not begin at their place
            watch.take(news, by_market.get(watch.market_id, []))
        return any(len(changes) == CHANGES_AT_ONCE_MAX for changes in by_market.values())

    async def _news(self) -> None:
        """Until something was announced, somebody joined, or LOOK_S have passed."""
        waits = [
            asyncio.ensure_future(wait)
            for wait in ((self._feed.wait(LOOK_S), self._joined.wait()) if self._open else (self._joined.wait(),))
        ]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()
            ended = await asyncio.gather(*waits, return_exceptions=True)
        for end in ended:
            if isinstance(end, Outage):
                raise end


class _Watch:
    """One watch: how far it has come, and what waits to be read."""

    def __init__(self, market_id: MarketId) -> None:
        self.market_id = market_id
        self.epoch = ""
        self.seq = 0
        self._has_joined = False
        self._told_by_now = 0
        self._waiting: asyncio.Queue[ToldChange | Problem] = asyncio.Queue()  # bounded by `take`
        self._has_ended = False

    @property
    def is_live(self) -> bool:
        """Whether it has a place, and changes are still of use to it."""
        return self._has_joined and not self._has_ended

    def join(self, seq: int, epoch: str, told_by_now: int = 0) -> None:
        """From here on; up to `told_by_now` the changes must still be there."""
        self.seq, self.epoch, self._told_by_now, self._has_joined = seq, epoch, told_by_now, True

    def take(self, news: FeedNews, changes: list[ToldChange]) -> None:
        """What follows its place; anything else than the very next change means that some are gone."""
        if self._has_ended:
            return
        new = [change for change in changes if change.seq > self.seq]
        if news.epoch != self.epoch or (not new and self.seq < self._told_by_now):
            self.end(ResumeTokenExpired(self.market_id))
        for change in new:
            if change.seq != self.seq + 1:
                self.end(ResumeTokenExpired(self.market_id))
            elif self._waiting.qsize() >= WAITING_MAX:
                self.end(WatchTooSlow(WAITING_MAX))
            if self._has_ended:
                return
            self.seq = change.seq
            self._waiting.put_nowait(change)

    def end(self, problem: Problem) -> None:
        """Nothing follows what waits already."""
        self._has_ended = True
        self._waiting.put_nowait(problem)

    async def next(self, timeout_s: float) -> ToldChange | None:
        """The next change, None after `timeout_s` without one; rejects when the watch has ended."""
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                told = await self._waiting.get()
                if isinstance(told, ToldChange):
                    return told
                raise Rejected(told)
        return None
