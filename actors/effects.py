"""What a market's new version writes besides itself: a pure reading of its events."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from actors.ports import AggregationNote, AlertNote, Change
from domain import events as ev
from domain.deadlines import Deadline
from domain.feed import announce
from domain.intents import Action, Intent
from domain.market import Market
from domain.rules import Rules
from domain.tally import Tally, VoteType


def change_of(
    before: Market | None,
    after: Market,
    events: Sequence[ev.Event],
    applied: Sequence[str],
    deadline: Deadline | None,
    rules: Rules,
) -> Change:
    """The transaction that takes `before` to `after`; the version moves on by one, the feed sequences as announced."""
    after, feed = announce(before, after, version=(before.version if before else 0) + 1)
    return Change(
        market=after,
        deadline=deadline,
        is_new=before is None,
        before=before,
        feed=feed,
        planned=tuple(event.intent for event in events if isinstance(event, ev.IntentPlanned)),
        applied=tuple(applied),
        aggregations=tuple(_notes(after, events, rules)),
        alerts=tuple(_alerts(after, events)),
    )


def _notes(market: Market, events: Sequence[ev.Event], rules: Rules) -> Iterator[AggregationNote]:
    for event in events:
        match event:
            case ev.IntentPlanned(intent) if intent.action is Action.AGGREGATE_PROPOSAL:
                log = market.log(VoteType.PROPOSAL)  # no vote is counted in the version that plans
                yield replace(_note(intent, "pending", rules), votes_size=log.size, votes_root=log.root().hex())
            case ev.TalliesConfirmed(intent):
                yield _note(intent, "confirmed", rules)
            case ev.AttemptFailed(intent, reason) if intent.action is Action.AGGREGATE_PROPOSAL:
                yield _note(intent, "failed", rules, reason)
            case _:
                pass


def _note(intent: Intent, status: str, rules: Rules, reason: str = "") -> AggregationNote:
    tally = Tally(intent.yes, intent.no, intent.yes, intent.no)
    threshold_bps = rules.config.proposal_threshold_bps if rules.config else 0
    met = tally.total >= rules.min_proposal_votes and tally.meets(threshold_bps)
    return AggregationNote(intent, status, tally, tally.percentage_bps, threshold_bps, met, reason)


def _alerts(market: Market, events: Sequence[ev.Event]) -> Iterator[AlertNote]:
    for event in events:
        match event:
            case ev.ApprovalBecameReady(will_be_sent=False):
                data = {"market_id": market.market_id, "needs": "approve_proposal signed by the admin key"}
                yield AlertNote("approval_ready", "HIGH", f"approval_ready:{market.market_id}", market.market_id, data)
            case ev.AttemptFailed(intent, reason):
                yield _failure(market, intent, reason)
            case _:
                pass


def _failure(market: Market, intent: Intent, reason: str) -> AlertNote:
    """One open alert for each market and action: a failure that repeats is the same news."""
    data = {"action": intent.action.value, "attempt": str(intent.attempt), "reason": reason}
    key = f"intent_failed:{market.market_id}:{intent.action.value}"
    return AlertNote("intent_failed", "HIGH", key, market.market_id, data)
