"""The breaker of state transitions: three failures in a row, and no new one is signed for five minutes (spec, week 7).

The sender tries a planned row again after half a second, so failures count only every half minute: three of them are an
outage of a minute, not three tries of one attempt in a hiccup of two seconds (docs/adr/0020).

What is signed already is driven on: it may land at any time. What a program refuses is its market's own affair and says
that the chain is well, so it never opens the breaker.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager

from chain.breaker import Breaker
from chain.ports import AlertNote
from chain.rpc import ChainUnavailable, RpcRefused
from domain.intents import Action, IntentStatus, StoredTransaction

FAILURES_MAX = 3
OPEN_S = 300.0
SPACING_S = 30.0
"""Between two failures that count: three of the sender's longest pauses (10 s). The third one is counted after a
minute, well before an attempt is overdue (240 s)."""
_TALLIES = Action.AGGREGATE_PROPOSAL
"""Leaves its market where it is, so it is no transition."""


class TransitionGate:
    """Lets planned transitions through while the chain answers; one probe at a time after it did not."""

    def __init__(self, clock: Callable[[], float], failures_max: int = FAILURES_MAX, open_s: float = OPEN_S) -> None:
        from chain.metrics import TRANSITION_BREAKER_OPEN  # here: the library asks for its folder when it is imported

        self._breaker = Breaker(clock, (ChainUnavailable, RpcRefused), failures_max, open_s, SPACING_S)
        self._note: AlertNote | None = None
        self._gauge = TRANSITION_BREAKER_OPEN

    @property
    def is_open(self) -> bool:
        """Whether it has opened and no probe has succeeded since."""
        return self._breaker.is_open

    def admitted(self, rows: Sequence[StoredTransaction]) -> list[StoredTransaction]:
        """The rows that may be worked on now: all planned transitions, none while it is open, or one as the probe."""
        if not self.is_open:
            return list(rows)
        probes = [] if self._breaker.wait_s else [row for row in rows if _is_try(row)][:1]
        return [row for row in rows if not _is_try(row) or row in probes]

    @contextmanager
    def watch(self, rows: Sequence[StoredTransaction]) -> Iterator[None]:
        """Around a round over admitted rows: an outage is a failure of the transitions that were to be signed in it."""
        tries = [row for row in rows if _is_try(row)]
        if not tries:
            yield
            return
        try:
            with self._breaker.attempt():
                yield
        except (ChainUnavailable, RpcRefused) as outage:
            if self.is_open:
                self._note = _alert(tries[0], outage)
            raise
        finally:
            self._gauge.set(self.is_open)

    async def tell(self, raise_alert: Callable[[AlertNote], Awaitable[None]]) -> None:
        """Say that it has opened, in a round of its own: an alert that fails must not replace the outage (T91)."""
        note, self._note = self._note, None
        if note is not None:
            await raise_alert(note)


def _is_try(row: StoredTransaction) -> bool:
    return row.status is IntentStatus.PLANNED and row.intent.action is not _TALLIES


def _alert(row: StoredTransaction, outage: ChainUnavailable | RpcRefused) -> AlertNote:
    """One alert while it lasts: the breaker is one for all markets, and names the one that it met."""
    intent = row.intent
    data = {
        "market_id": intent.market_id,
        "target": TARGETS[intent.action],
        "error": str(outage),
        "action": "manual_review_required",
    }
    return AlertNote("state_transition_failure", "CRITICAL", "state_transition_failure", intent.market_id, data)


TARGETS = {
    Action.APPROVE: "APPROVED",
    Action.ACTIVATE: "ACTIVE",
    Action.CANCEL: "CANCELLED",
    Action.FINALIZE: "FINALIZED",
    Action.INVALIDATE: "FINALIZED",
}
"""The state that each action leads to."""
