"""The delivery of alerts: from rows to people, each sink in a lane of its own.

One turn: alerts that people must be told of become deliveries by the rules (`_announce`), and every sink with something
due, and nothing under way, gets a task (`_lane`) that sends one message and marks its rows. So a sink that hangs keeps
nobody waiting but itself, and what it did not take is tried again, by whoever lives then: at least once, for a day.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import UTC, datetime
from functools import partial

import structlog

from alerts.direct import DirectAlarm
from alerts.ports import AlertNews, AlertQueue, Sink, SinkFailed
from alerts.retries import GIVE_UP_S, retry_after_s
from alerts.rules import AlertRules
from alerts.secret_words import Redactor
from domain.alerts import Delivery, Routed, Severity, StoredAlert
from domain.journal import AlertNote

LOOK_S = 1.0
"""The longest pause between two turns; a new alert ends it at once."""
ANNOUNCED_AT_ONCE_MAX = 200
LEASE_S = 120.0
"""Twice the longest time that a sink may have."""
HOUSEKEEPING_S = 60.0
KEPT_SETTLED_S = 7 * 86_400.0
DATABASE_DOWN_S = 10.0
"""An outage that ends sooner is a restart and nobody's business."""
DATABASE_DOWN = "database_down"
_LOG_LEVELS = {Severity.CRITICAL: "critical", Severity.HIGH: "error", Severity.MEDIUM: "warning", Severity.LOW: "info"}

log = structlog.get_logger("alerts")


class AlertDelivery:
    """Delivers until it is stopped. An outage of the database is waited out, and is itself an alert, sent directly."""

    def __init__(
        self,
        queue: AlertQueue,
        news: AlertNews,
        rules: AlertRules,
        sinks: Mapping[str, Sink],
        redactor: Redactor,
        now_s: Callable[[], float],
        new_id: Callable[[], str],
        chance: random.Random,
    ) -> None:
        self._queue, self._news, self._rules, self._sinks = queue, news, rules, sinks
        self._redactor, self._now_s, self._chance = redactor, now_s, chance
        self._direct = DirectAlarm(rules, sinks, now_s, new_id, chance)
        self._lanes: dict[str, asyncio.Task[None]] = {}
        self._held_back: dict[str, float] = {}
        self._housekeeping_due_s = 0.0
        self._down_since_s: float | None = None

    async def run(self, stop: asyncio.Event) -> None:
        """Take turns until `stop`; messages under way then are given their time."""
        stopping = asyncio.create_task(stop.wait())
        try:
            while not stop.is_set():
                await self.turn()
                await self._pause(stopping)
        finally:
            stopping.cancel()
            await self.settled()

    async def turn(self) -> None:
        """One look at everything; returns with lanes under way."""
        try:
            await self._announce()
            await self._start_lanes()
            await self._keep_house()
        except OSError as outage:
            self._missed(outage)
        else:
            await self._back()
        self._start("direct", self._direct.turn)

    async def settled(self) -> None:
        """Wait for the lanes under way; each ends within its sink's time and a few statements."""
        await asyncio.gather(*self._lanes.values())

    async def _pause(self, stopping: asyncio.Task[bool]) -> None:
        """Until there is news, a lane ends, or a second has passed; while the database is away, always that second."""
        waiting = asyncio.create_task(self._news.wait(LOOK_S))
        await asyncio.wait({waiting, stopping}, return_when=asyncio.FIRST_COMPLETED)
        waiting.cancel()
        (outcome,) = await asyncio.gather(waiting, return_exceptions=True)
        if isinstance(outcome, OSError):
            self._missed(outcome)
            await asyncio.wait({stopping}, timeout=LOOK_S)
        elif isinstance(outcome, Exception):
            raise outcome

    # --- from alerts to deliveries --------------------------------------------------------------------------------

    async def _announce(self) -> None:
        """Queue what the rules say, and put each alert into the log, which is the last resort and the first to know."""
        alerts = await self._queue.to_announce(self._rules.reminder_s, self._now_s(), ANNOUNCED_AT_ONCE_MAX)
        if not alerts:
            return
        routed = [Routed(alert, self._rules.sinks_for(alert)) for alert in alerts]
        told = await self._queue.announce(routed, self._now_s())
        for entry in routed:
            if entry.alert.number in told:
                self._log(entry)

    def _log(self, routed: Routed) -> None:
        alert = routed.alert
        data = {name: self._redactor.clean(text) for name, text in alert.data.items()}
        getattr(log, _LOG_LEVELS[alert.severity])(
            "alert",
            occasion=alert.occasion.value,
            alert_type=alert.alert_type,
            severity=alert.severity.value,
            alert_id=alert.alert_id,
            market_id=alert.market_id,
            occurrences=alert.occurrences,
            data=data,
            sinks=list(routed.sinks),
        )

    # --- from deliveries to people --------------------------------------------------------------------------------

    async def _start_lanes(self) -> None:
        now_s = self._now_s()
        for name in sorted(await self._queue.due_sinks(now_s)):
            if name in self._sinks and self._held_back.get(name, 0.0) <= now_s:
                self._start(name, partial(self._lane, self._sinks[name]))

    def _start(self, name: str, work: Callable[[], Awaitable[None]]) -> None:
        """At most one task for each name at a time."""
        if name not in self._lanes or self._lanes[name].done():
            self._lanes[name] = asyncio.create_task(self._guarded(name, work))

    async def _guarded(self, name: str, work: Callable[[], Awaitable[None]]) -> None:
        """A lane's failure is said, and is nobody else's."""
        try:
            await work()
        except OSError as outage:  # its rows come back when their lease ends
            log.warning("delivery not marked, it will be repeated", sink=name, error=str(outage))
        except Exception as bug:
            log.error("lane failed", sink=name, error=self._redactor.clean(repr(bug)))

    async def _lane(self, sink: Sink) -> None:
        """Send one message of what is due, and mark it."""
        deliveries = await self._queue.claim(sink.name, self._now_s(), sink.batch_max, LEASE_S)
        if not deliveries:
            return
        try:
            await sink.send([delivery.announcement for delivery in deliveries])
        except SinkFailed as failure:
            await self._put_off(sink, deliveries, failure)
        else:
            await self._queue.mark_sent(deliveries, self._now_s())
            log.info("alerts delivered", sink=sink.name, count=len(deliveries))

    async def _put_off(self, sink: Sink, deliveries: Sequence[Delivery], failure: SinkFailed) -> None:
        """Try these again later, and after a 429 nothing else before them."""
        attempts = max(delivery.attempts for delivery in deliveries)
        next_attempt_s = self._now_s() + retry_after_s(attempts, failure.rate_limited, self._chance)
        if failure.rate_limited:
            self._held_back[sink.name] = next_attempt_s
        log.warning("alerts not delivered", sink=sink.name, why=failure.why, attempts=attempts, count=len(deliveries))
        await self._queue.mark_failed(deliveries, failure.why, next_attempt_s)

    async def _keep_house(self) -> None:
        now_s = self._now_s()
        if now_s < self._housekeeping_due_s:
            return
        for sink in await self._queue.give_up(now_s - GIVE_UP_S, now_s):
            log.error("delivery given up", sink=sink, after_s=GIVE_UP_S)
        await self._queue.prune(now_s - KEPT_SETTLED_S)
        self._housekeeping_due_s = now_s + HOUSEKEEPING_S

    # --- when the database is away --------------------------------------------------------------------------------

    def _missed(self, outage: OSError) -> None:
        """The database did not answer; after ten seconds of it people hear so without it."""
        now_s = self._now_s()
        if self._down_since_s is None:
            self._down_since_s = now_s
            log.warning("the database is away, alerts wait", error=self._redactor.clean(str(outage)))
        if now_s - self._down_since_s >= DATABASE_DOWN_S:
            data = {"since": _instant(self._down_since_s), "error": self._redactor.clean(str(outage))}
            self._direct.note(AlertNote(DATABASE_DOWN, "CRITICAL", DATABASE_DOWN, None, data))

    async def _back(self) -> None:
        """It answers: say so, and leave the outage in the database too, as an alert that is over."""
        if self._down_since_s is None:
            return
        since_s, self._down_since_s = self._down_since_s, None
        log.info("the database is back", away_s=round(self._now_s() - since_s, 1))
        alert = self._direct.end(DATABASE_DOWN)
        if alert is not None:
            await self._record(alert)

    async def _record(self, alert: StoredAlert) -> None:
        try:
            note = AlertNote(alert.alert_type, alert.severity, alert.dedupe_key, None, dict(alert.data))
            await self._queue.raise_alert(note)
            await self._queue.resolve_key(alert.dedupe_key, self._now_s())
        except OSError as outage:
            self._missed(outage)


def _instant(unix_s: float) -> str:
    return datetime.fromtimestamp(unix_s, UTC).isoformat(timespec="seconds")
