"""What a market's new version writes besides itself: a pure reading of its events."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime

from actors.ports import AggregationNote, AlertNote, Change
from domain import events as ev
from domain.aggregation import TOO_EARLY
from domain.deadlines import Deadline
from domain.feed import announce
from domain.intents import Intent
from domain.lifecycle import Lifecycle
from domain.market import Market
from domain.retries import calls_for_help
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
    """The transaction that takes `before` to `after`; the version moves on by one, the feed sequences as announced.

    The version is the stored one's successor: only a market that somebody else wrote has another one than `before`.
    """
    events = [event for event in events if not isinstance(event, ev.VotesCounted)]  # they owe nothing but the tallies
    tells_all = any(isinstance(event, ev.MarketReloaded) and event.was_asleep for event in events)
    after, feed = announce(before, after, after.version + 1, tells_all=tells_all)
    return Change(
        market=after,
        deadline=deadline,
        is_new=before is None,
        before=before,
        feed=feed,
        planned=tuple([event.intent for event in events if isinstance(event, ev.IntentPlanned)]),
        applied=tuple(applied),
        aggregations=tuple(_notes(after, events, rules)),
        alerts=tuple(_alerts(after, events)),
    )


def _notes(market: Market, events: Sequence[ev.Event], rules: Rules) -> Iterator[AggregationNote]:
    for event in events:
        match event:
            case ev.IntentPlanned(intent) if intent.counts:
                yield _rooted(_pending(event, rules), market)
            case ev.TalliesConfirmed(intent) | ev.FinalizationConfirmed(intent) if intent.counts:
                yield _moved(intent, intent.counts, "confirmed")
            case ev.AttemptFailed(intent, reason) if intent.counts:
                yield _moved(intent, intent.counts, "failed", reason)
            case ev.AttemptTooEarly(intent) if intent.counts:
                yield _moved(intent, intent.counts, "failed", TOO_EARLY)
            case ev.AggregationSkipped():
                yield _rooted(_skipped(market, event, rules), market)
            case _:
                pass


def _rooted(note: AggregationNote, market: Market) -> AggregationNote:
    """The note with size and root of what it counted: no vote is counted in a version that plans or skips."""
    log = market.log(note.vote_type)
    return replace(note, votes_size=log.size, votes_root=log.root().hex())


def _pending(event: ev.IntentPlanned, rules: Rules) -> AggregationNote:
    intent = event.intent
    assert intent.counts is not None
    return AggregationNote(
        aggregation_id=intent.intent_id,
        market_id=intent.market_id,
        vote_type=intent.counts,
        status="pending",
        tally=event.tally,
        submitted=intent.pair,
        threshold_bps=event.threshold_bps,
        threshold_met=_is_met(intent.counts, event.tally, event.threshold_bps, rules),
        is_synthetic=event.is_synthetic,
    )


def _moved(intent: Intent, counts: VoteType, status: str, reason: str = "") -> AggregationNote:
    """Where an attempt stands now; the figures of its plan stay as they were noted then."""
    tally = Tally(*(intent.pair or (0, 0)))
    return AggregationNote(intent.intent_id, intent.market_id, counts, status, tally, intent.pair, 0, False, reason)


def _skipped(market: Market, event: ev.AggregationSkipped, rules: Rules) -> AggregationNote:
    counts = VoteType.DISPUTE if market.state is Lifecycle.DISPUTED else VoteType.PROPOSAL
    config, tally = rules.config, market.tally(counts)
    thresholds = (config.proposal_threshold_bps, config.dispute_threshold_bps) if config else (0, 0)
    threshold_bps = thresholds[counts is VoteType.DISPUTE]
    met = _is_met(counts, tally, threshold_bps, rules)
    place = (event.aggregation_id, market.market_id, counts)
    return AggregationNote(*place, "skipped", tally, None, threshold_bps, met, event.reason.value)


def _is_met(counts: VoteType, tally: Tally, threshold_bps: int, rules: Rules) -> bool:
    has_quorum = counts is VoteType.DISPUTE or tally.total >= rules.min_proposal_votes
    return has_quorum and tally.meets(threshold_bps)


def _alerts(market: Market, events: Sequence[ev.Event]) -> Iterator[AlertNote]:
    for event in events:
        match event:
            case ev.ApprovalBecameReady(will_be_sent=False):
                needs = {"needs": "approve_proposal signed by the admin key"}
                yield _alert(market, "approval_ready", "HIGH", needs)
            case ev.AggregationSkipped(reason=ev.Skip.CHAIN_AHEAD):
                yield _alert(market, "tallies_behind_chain", "CRITICAL", _behind(market))
            case ev.AggregationSkipped(reason=ev.Skip.HELD):
                yield _alert(market, "dispute_without_votes", "CRITICAL", {"needs": "an operator to end the dispute"})
            case ev.MarketReloaded():
                yield _alert(market, "changed_outside", "MEDIUM", {"means": "It was written past its actor."})
            case ev.StuckNoticed(at_s):
                day = datetime.fromtimestamp(at_s, UTC).date().isoformat()
                yield _alert(market, "stuck_market", "MEDIUM", _stuck(market), f":{day}")
            case ev.FinalizationMismatched():
                yield _alert(market, "finalization_mismatch", "CRITICAL", _mismatch(market, event))
            case ev.StateUnexplained(before, now):
                data = {
                    "from": before.name,
                    "to": now.name,
                    "means": "No instruction leads there; the chain is followed.",
                }
                yield _alert(market, "state_unexplained", "HIGH", data)
            case ev.AttemptFailed(intent, reason, failures) if calls_for_help(failures):
                data = {"action": intent.action.value, "attempt": str(failures), "reason": reason}
                yield _alert(market, "intent_failed", "HIGH", data, f":{intent.action.value}")
            case _:
                pass


def _alert(market: Market, name: str, severity: str, data: dict[str, str], what: str = "") -> AlertNote:
    """One open alert for each market and matter: what repeats is the same news."""
    key = f"{name}:{market.market_id}{what}"
    return AlertNote(name, severity, key, market.market_id, {"market_id": market.market_id, **data})


def _behind(market: Market) -> dict[str, str]:
    return {
        "here": f"{market.proposal.yes} likes, {market.proposal.no} dislikes",
        "on_chain": f"{market.confirmed_likes} likes, {market.confirmed_dislikes} dislikes",
        "means": "Votes are missing here: restore the database, or this market's tallies stay as the chain has them.",
    }


def _mismatch(market: Market, event: ev.FinalizationMismatched) -> dict[str, str]:
    sent, (agree, disagree) = event.submitted, event.on_chain
    return {
        "expected_outcome": _outcome_word(event.expected),
        "final_outcome": _outcome_word(event.found),
        "tally": f"{market.dispute.yes} to {market.dispute.no}",
        "submitted": f"{sent.yes} to {sent.no}",
        "on_chain": f"{agree} to {disagree}",
        "threshold_bps": str(sent.threshold_bps),
    }


def _stuck(market: Market) -> dict[str, str]:
    return {
        "state": market.state.name,
        "last_activity": datetime.fromtimestamp(market.active_at_s, UTC).isoformat(),
        "means": "Nothing has happened to this market on chain since then.",
    }


def _outcome_word(outcome: bool | None) -> str:
    """The contract's word for an outcome of a market that is final."""
    return "INVALID" if outcome is None else "YES" if outcome else "NO"
