"""Alarm without the database: straight to the sinks, remembered in memory only (T91).

For what cannot be stored, above all that the database is away. Best effort: what a process has not got out when it dies
is lost, its log has it.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

import structlog

from alerts.ports import Sink, SinkFailed
from alerts.retries import retry_after_s
from alerts.rules import AlertRules
from domain.alerts import Announcement, Occasion, Severity, StoredAlert
from domain.journal import AlertNote

KEYS_MAX = 256
"""Alerts that are remembered at once; beyond it the one that was silent longest is forgotten, and said again."""
TURN_S_MIN = 1.0
log = structlog.get_logger("alerts")


@dataclass(slots=True)
class _Open:
    """An alert under way, and which sinks still have to hear of it: attempts so far, and when the next one is due."""

    alert: StoredAlert
    told_s: float
    waiting: dict[str, tuple[int, float]] = field(default_factory=dict)


class DirectAlarm:
    """Raises, repeats and ends alerts at the sinks. A sink that fails is tried again at every `turn` that is due."""

    def __init__(
        self,
        rules: AlertRules,
        sinks: Mapping[str, Sink],
        now_s: Callable[[], float],
        new_id: Callable[[], str],
        chance: random.Random,
    ) -> None:
        self._rules, self._sinks = rules, sinks
        self._now_s, self._new_id, self._chance = now_s, new_id, chance
        self._open: dict[str, _Open] = {}

    def note(self, note: AlertNote) -> StoredAlert:
        """Take an alert in, or count it up; a reminder goes out when its window has passed. `turn` tells the sinks."""
        now_s, known = self._now_s(), self._open.pop(note.dedupe_key, None)
        if known is None or known.alert.resolved_at is not None:
            known = _Open(self._new(note, now_s), now_s)
            self._announce(known)
        else:
            self._count(known, note, now_s)
        self._open[note.dedupe_key] = known
        if len(self._open) > KEYS_MAX:
            del self._open[next(iter(self._open))]
        return known.alert

    def end(self, dedupe_key: str) -> StoredAlert | None:
        """It is over: the sinks are told so with the next `turn`. Returns the alert, None if there was none."""
        known = self._open.get(dedupe_key)
        if known is None or known.alert.resolved_at is not None:
            return None
        ended = _instant(self._now_s())
        known.alert = replace(known.alert, acknowledged_at=ended, resolved_at=ended)
        self._announce(known)
        return known.alert

    async def turn(self) -> None:
        """Tell every sink what is due for it, all of them at once, each within its own time; fails for none."""
        now_s = self._now_s()
        due = [
            (known, name)
            for known in self._open.values()
            for name, (_, at_s) in known.waiting.items()
            if at_s <= now_s and name in self._sinks
        ]
        by_sink: dict[str, list[_Open]] = {}
        for known, name in due:
            by_sink.setdefault(name, []).append(known)
        await asyncio.gather(*(self._tell(name, opens) for name, opens in by_sink.items()))
        self._open = {key: known for key, known in self._open.items() if known.waiting or not known.alert.resolved_at}

    def next_turn_s(self) -> float | None:
        """Seconds until a sink is due again, at least one; None when every sink has heard everything."""
        due = [
            at_s for known in self._open.values() for name, (_, at_s) in known.waiting.items() if name in self._sinks
        ]
        return max(min(due) - self._now_s(), TURN_S_MIN) if due else None

    def _count(self, known: _Open, note: AlertNote, now_s: float) -> None:
        alert = known.alert
        known.alert = replace(alert, occurrences=alert.occurrences + 1, last_at=_instant(now_s), data=note.data)
        window_s = self._rules.reminder_s[alert.severity]
        if window_s is not None and now_s - known.told_s >= window_s:
            known.told_s = now_s
            self._announce(known)

    def _announce(self, known: _Open) -> None:
        """Due now at every sink of its rules; the log hears it first, and whatever the sinks do."""
        alert, now_s = known.alert, self._now_s()
        sinks = self._rules.sinks_for(alert, unless_told=True)
        facts = {"alert_type": alert.alert_type, "severity": alert.severity.value, "status": alert.status.value}
        log.error("direct alert", **facts, sinks=list(sinks), data=dict(alert.data))
        known.waiting = dict.fromkeys(sinks, (0, now_s))

    async def _tell(self, name: str, opens: list[_Open]) -> None:
        sink = self._sinks[name]
        for first in range(0, len(opens), sink.batch_max):
            batch = opens[first : first + sink.batch_max]
            told = [(known, known.alert) for known in batch]
            try:
                await sink.send([Announcement(_occasion(alert), alert) for _, alert in told])
            except SinkFailed as failure:
                log.warning("alert not delivered", sink=name, why=failure.why)
                self._put_off(name, batch, failure)
                return
            for known, alert in told:
                if known.alert.resolved_at == alert.resolved_at:  # else it ended meanwhile, and that is still to say
                    known.waiting.pop(name, None)

    def _put_off(self, name: str, opens: list[_Open], failure: SinkFailed) -> None:
        for known in opens:
            attempts = known.waiting[name][0] + 1 if name in known.waiting else 1
            wait_s = retry_after_s(attempts, failure.rate_limited, self._chance)
            known.waiting[name] = (attempts, self._now_s() + wait_s)

    def _new(self, note: AlertNote, now_s: float) -> StoredAlert:
        at = _instant(now_s)
        severity = Severity(note.severity)
        return StoredAlert(
            0, self._new_id(), note.dedupe_key, note.alert_type, severity, note.market_id, note.data, 1, at, at
        )


def _occasion(alert: StoredAlert) -> Occasion:
    if alert.resolved_at is not None:
        return Occasion.RESOLVED
    return Occasion.RAISED if alert.occurrences == 1 else Occasion.REMINDER


def _instant(unix_s: float) -> datetime:
    return datetime.fromtimestamp(unix_s, UTC)
