"""When a market must be looked at next: a pure function of its state, the rules and the time."""

from __future__ import annotations

import enum
from dataclasses import dataclass

from domain.aggregation import approvable
from domain.disputes import window_ends_s
from domain.events import Skip
from domain.lifecycle import Lifecycle
from domain.market import Market
from domain.rules import Now, Rules
from domain.stuck import next_told_s


class ClockName(enum.StrEnum):
    """Which clock a deadline is read on (decisions P6)."""

    CHAIN = "chain"
    WALL = "wall"


@dataclass(frozen=True, slots=True)
class Deadline:
    """An instant in Unix seconds on one of the two clocks."""

    at_s: int
    clock: ClockName


WINDOWED = frozenset({Lifecycle.RESOLVING, Lifecycle.DISPUTED})
"""States that end by the clock; a change of GlobalConfig moves their deadlines (CI Q8)."""


def next_deadline(market: Market, rules: Rules, now: Now) -> Deadline | None:
    """The next instant at which something may have to be done, or None while nothing can become due.

    PROPOSED: the next grid instant when tallies or an approval wait. RESOLVING and DISPUTED: the end of the window, and
    after it the grid, while nothing can be sent. The retry time after a failure comes before both, and an attempt under
    way has none: its settlement comes back by itself. A market on which nothing happens is looked at for that alone,
    every day from the 30th on; retries, an hour away at most, come before it.
    """
    if market.intent is not None:
        return None
    wanted, told_s = _wanted(market, rules, now), next_told_s(market, rules)
    told = None if told_s is None else Deadline(told_s, ClockName.CHAIN)
    return told if wanted is None else reschedule(told, wanted)


def _wanted(market: Market, rules: Rules, now: Now) -> Deadline | None:
    """For something to be sent."""
    if market.state in WINDOWED:
        return _retry(market, now) or _window_end(market, rules, now)
    if market.state is not Lifecycle.PROPOSED:
        return None
    return _retry(market, now) or (_grid(rules, now) if _waits(market, rules) else None)


def _retry(market: Market, now: Now) -> Deadline | None:
    is_ahead = market.next_attempt_at_s > now.wall_s
    return Deadline(market.next_attempt_at_s, ClockName.WALL) if is_ahead else None


def _grid(rules: Rules, now: Now) -> Deadline:
    return Deadline(rules.schedule.next_after(now.chain_s), ClockName.CHAIN)


def _waits(market: Market, rules: Rules) -> bool:
    has_key = rules.config is not None and rules.config.may_approve
    return market.unsubmitted or (has_key and approvable(market, rules))


def _window_end(market: Market, rules: Rules, now: Now) -> Deadline | None:
    """None while GlobalConfig is unknown (its first reading sets every window), and for a dispute that is held."""
    if rules.config is None or (market.skip_reason == Skip.HELD and not market.dispute.total):
        return None
    ends_s = window_ends_s(market, rules.config)
    assert ends_s is not None
    return Deadline(ends_s, ClockName.CHAIN) if ends_s > now.chain_s else _grid(rules, now)


def kind_of(deadline: Deadline, market: Market, rules: Rules) -> str:
    """Why a market waits for this deadline: `retry` after a failure, `window_end`, else the `tick` of the grid."""
    if deadline.clock is ClockName.WALL:
        return "retry"
    ends_s = window_ends_s(market, rules.config) if rules.config is not None else None
    return "window_end" if deadline.at_s == ends_s else "tick"


def reschedule(held: Deadline | None, wanted: Deadline | None) -> Deadline | None:
    """The deadline to keep: one that is already due is not pushed ahead by the votes that keep coming."""
    if held is None or wanted is None or held.clock is not wanted.clock:
        return wanted
    return held if held.at_s <= wanted.at_s else wanted
