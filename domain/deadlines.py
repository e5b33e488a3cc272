"""When a market must be looked at next: a pure function of its state, the rules and the time."""

from __future__ import annotations

import enum
from dataclasses import dataclass

from domain.aggregation import approvable
from domain.lifecycle import Lifecycle
from domain.market import Market
from domain.rules import Now, Rules


class ClockName(enum.StrEnum):
    """Which clock a deadline is read on (decisions P6)."""

    CHAIN = "chain"
    WALL = "wall"


@dataclass(frozen=True, slots=True)
class Deadline:
    """An instant in Unix seconds on one of the two clocks."""

    at_s: int
    clock: ClockName


def next_deadline(market: Market, rules: Rules, now: Now) -> Deadline | None:
    """The next instant at which something may have to be done, or None while nothing can become due.

    PROPOSED: the next grid instant when tallies or an approval wait, the retry time after a failure,
    nothing while an attempt is under way (its settlement comes back by itself).
    """
    if market.state is not Lifecycle.PROPOSED or market.intent is not None:
        return None
    if market.next_attempt_at_s > now.wall_s:
        return Deadline(market.next_attempt_at_s, ClockName.WALL)
    waiting = market.unsubmitted or _approval_waits(market, rules)
    return Deadline(rules.schedule.next_after(now.chain_s), ClockName.CHAIN) if waiting else None


def _approval_waits(market: Market, rules: Rules) -> bool:
    return rules.config is not None and rules.config.may_approve and approvable(market, rules)


def reschedule(held: Deadline | None, wanted: Deadline | None) -> Deadline | None:
    """The deadline to keep: one that is already due is not pushed ahead by the votes that keep coming."""
    if held is None or wanted is None or held.clock is not wanted.clock:
        return wanted
    return min(held, wanted, key=lambda deadline: deadline.at_s)
