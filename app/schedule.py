"""The aggregation grid: a cron expression read by cronsim, in UTC."""

from __future__ import annotations

from datetime import UTC, datetime

from cronsim import CronSim, CronSimError


class CronSchedule:
    """Implements `domain.rules.Schedule` for an expression such as `*/5 * * * *`; raises ValueError for a bad one."""

    def __init__(self, expression: str) -> None:
        self._expression = expression
        try:
            CronSim(expression, datetime(2025, 1, 1, tzinfo=UTC))
        except CronSimError as error:
            raise ValueError(f"not a cron expression: {expression!r} ({error})") from error
        self._after_s = self._next_s = -1

    def next_after(self, unix_s: int) -> int:
        """The first instant of the grid strictly after `unix_s`; the last answer is kept, it rarely changes."""
        if not self._after_s <= unix_s < self._next_s:
            self._next_s = int(next(CronSim(self._expression, datetime.fromtimestamp(unix_s, UTC))).timestamp())
            self._after_s = unix_s
        return self._next_s
