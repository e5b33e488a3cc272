"""The time of a server under test."""

from __future__ import annotations

from datetime import UTC, datetime

from tests.support.grpc_events import START_S


class Clock:
    """A clock that the test moves."""

    def __init__(self) -> None:
        self.at_s = float(START_S)

    def now_s(self) -> int:
        return int(self.at_s)

    def monotonic_s(self) -> float:
        return self.at_s

    def utc_now(self) -> datetime:
        return datetime.fromtimestamp(self.at_s, UTC)
