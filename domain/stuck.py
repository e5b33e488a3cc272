"""Markets on which nothing happens any more: when people are told so, once a day, in chain time (T87 to T90)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from domain import events as ev
from domain.lifecycle import TERMINAL
from domain.market import Market, last_mark_s
from domain.refusals import Refusal
from domain.rules import Now, Rules

DAY_S = 86_400
"""One alert a day and market."""
_IDLE = (ev.Skip.NO_VOTES, ev.Skip.UNCHANGED)
_TRADED = ("shares_yes", "shares_no", "total_volume", "current_liquidity")
_LANDED = ev.TalliesConfirmed | ev.ApprovalConfirmed | ev.TransitionConfirmed | ev.FinalizationConfirmed


def active(before: Market | None, after: Market, happened: Sequence[ev.Event], now: Now) -> Market:
    """The market with the instant of its last on-chain activity; whoever has moved is told stuck no longer.

    A state's own time counts, and now for a trade or a transaction of ours that landed; never what we only looked at.
    """
    if not [event for event in happened if _tells(event)]:
        return after
    at_s = max(after.active_at_s, last_mark_s(after))
    if any(isinstance(event, _LANDED) for event in happened) or (before is not None and _has_traded(before, after)):
        at_s = max(at_s, now.chain_s)
    at_s = max([at_s, *_voted(happened)])
    if at_s == after.active_at_s:
        return after
    return replace(after, active_at_s=at_s, stuck_told_at_s=0)


def next_told_s(market: Market, rules: Rules) -> int | None:
    """When people are to be told next; None for a market that has ended."""
    if market.state in TERMINAL:
        return None
    first_s = market.active_at_s + rules.stuck_after_s
    return first_s if market.stuck_told_at_s < first_s else market.stuck_told_at_s + DAY_S


def noticed(
    market: Market, rules: Rules, now: Now, fired: tuple[ev.Event, ...] | Refusal
) -> tuple[ev.Event, ...] | Refusal:
    """What a deadline comes to, with the notice if it is due. Days that nobody was here for are told as one."""
    due_s = next_told_s(market, rules)
    if due_s is None or not now.has_chain_time or now.chain_s < due_s:
        return fired
    events = fired if isinstance(fired, tuple) else ()
    kept = tuple(event for event in events if not (isinstance(event, ev.AggregationSkipped) and event.reason in _IDLE))
    return (*kept, ev.StuckNoticed(now.chain_s - (now.chain_s - due_s) % DAY_S))


def _tells(event: ev.Event) -> bool:
    """Votes through the API, which come by the thousand, are nothing that the chain shows."""
    return not isinstance(event, ev.VotesCounted) or event.on_chain_at_s > 0


def _has_traded(before: Market, after: Market) -> bool:
    return any(getattr(before, name) != getattr(after, name) for name in _TRADED)


def _voted(happened: Sequence[ev.Event]) -> list[int]:
    return [event.on_chain_at_s for event in happened if isinstance(event, ev.VotesCounted)]
