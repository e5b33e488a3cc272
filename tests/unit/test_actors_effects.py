"""What a market's new version writes besides itself: rows of aggregations, alerts, messages."""

from dataclasses import replace
from typing import Any

import pytest

from actors.effects import change_of
from domain import events as ev
from domain.commands import AggregateNow, Command, FireDeadline, ObserveMarket, SettleIntent
from domain.decisions import decide
from domain.disputes import MARGIN_S
from domain.intents import Action, Intent, IntentStatus, Settlement
from domain.journal import Change
from domain.lifecycle import Lifecycle
from domain.market import Market, evolve
from domain.merkle import Frontier
from domain.rules import Rules, ZeroVotes
from domain.tally import Tally, VoteType
from tests.support.markets import NOON_S, market, market_id, now, observed, rules

END_S = NOON_S + 259_200 + MARGIN_S
FIRE = FireDeadline(market_id())
LOG = Frontier().plus(b"a" * 32).plus(b"b" * 32)


def disputed(tally: Tally, **changes: Any) -> Market:
    return market(
        state=Lifecycle.DISPUTED,
        proposed_outcome=True,
        dispute_initiated_at_s=NOON_S,
        dispute=tally,
        dispute_log=LOG,
        **changes,
    )


def change(given: Market, command: Command, by: Rules | None = None) -> Change:
    """What the command writes."""
    by = by or rules()
    events = decide(given, command, by, now(chain_s=END_S))
    assert isinstance(events, tuple), events
    after = given
    for event in events:
        after = evolve(after, event)
    return change_of(given, after, events, (), None, by)


def settled(intent: Intent, status: IntentStatus, **changes: Any) -> SettleIntent:
    return SettleIntent(market_id(), replace(Settlement(intent, status, "signature", 20, None, None), **changes))


def test_the_end_of_a_dispute_keeps_the_exact_weights_beside_the_pair_that_is_sent() -> None:
    given = disputed(Tally(7 * 10**15, 3 * 10**15, 2, 5))
    written = change(given, FIRE)
    (note,) = written.aggregations
    assert (note.vote_type, note.status, note.tally) == (VoteType.DISPUTE, "pending", given.dispute)
    assert note.submitted == (3_006_477_106, 1_288_490_189)
    assert (note.threshold_bps, note.threshold_met, note.is_synthetic) == (6000, True, False)
    assert (note.votes_size, note.votes_root) == (2, LOG.root().hex())
    assert [intent.intent_id for intent in written.planned] == [note.aggregation_id]


def test_a_vote_that_nobody_cast_is_recorded_and_told_as_one() -> None:
    written = change(disputed(Tally()), FIRE)
    (note,) = written.aggregations
    assert (note.is_synthetic, note.tally, note.submitted, note.threshold_met) == (True, Tally(), (0, 1), False)
    (message,) = written.feed
    assert (message.type, message.payload["synthetic"]) == ("VOTE_UPDATE", True)
    assert [channel.partition("_")[0] for channel, _ in message.places] == ["market", "votes"]


def test_an_invalidated_dispute_is_recorded_and_nothing_is_called_a_vote() -> None:
    written = change(disputed(Tally()), FIRE, replace(rules(), zero_votes=ZeroVotes.INVALIDATE))
    (note,) = written.aggregations
    assert (note.is_synthetic, note.submitted, written.feed) == (False, (0, 0), ())
    assert [intent.action for intent in written.planned] == [Action.INVALIDATE]


def test_a_dispute_that_is_held_calls_an_operator() -> None:
    written = change(disputed(Tally()), FIRE, replace(rules(), zero_votes=ZeroVotes.HOLD))
    assert [(alert.alert_type, alert.severity) for alert in written.alerts] == [("dispute_without_votes", "CRITICAL")]
    assert ([note.status for note in written.aggregations], written.planned) == (["skipped"], ())


def test_the_end_of_an_undisputed_market_is_no_aggregation() -> None:
    written = change(market(state=Lifecycle.RESOLVING, resolution_proposed_at_s=NOON_S), FIRE)
    assert ([intent.pair for intent in written.planned], written.aggregations) == ([None], ())


def test_another_outcome_than_expected_is_told_with_both_numbers() -> None:
    account = observed(slot=50, state=Lifecycle.FINALIZED, final_outcome=True, dispute_agree=3, dispute_disagree=7)
    written = change(disputed(Tally(6, 4, 2, 1)), ObserveMarket(market_id(), account))
    (alert,) = written.alerts
    assert (alert.alert_type, alert.severity) == ("finalization_mismatch", "CRITICAL")
    assert (alert.data["expected_outcome"], alert.data["final_outcome"]) == ("NO", "YES")
    assert (alert.data["tally"], alert.data["submitted"], alert.data["on_chain"]) == ("6 to 4", "6 to 4", "3 to 7")


def test_a_state_to_which_nothing_leads_is_followed_and_told_with_both_states() -> None:
    account = observed(slot=50, state=Lifecycle.ACTIVE)
    written = change(market(state=Lifecycle.FINALIZED), ObserveMarket(market_id(), account))
    (alert,) = written.alerts
    assert (alert.alert_type, alert.severity) == ("state_unexplained", "HIGH")
    assert (alert.data["from"], alert.data["to"], written.market.state) == ("FINALIZED", "ACTIVE", Lifecycle.ACTIVE)


@pytest.mark.parametrize("command", [FIRE, AggregateNow(market_id())], ids=["tick", "operator"])
def test_a_database_that_knows_less_than_the_chain_calls_for_help_and_sends_nothing(command: Command) -> None:
    given = market(proposal=Tally(1, 0, 1, 0), confirmed_likes=12, confirmed_dislikes=1)
    written = change(given, command)
    (alert,) = written.alerts
    assert (alert.alert_type, alert.severity) == ("tallies_behind_chain", "CRITICAL")
    assert (alert.data["here"], alert.data["on_chain"]) == ("1 likes, 0 dislikes", "12 likes, 1 dislikes")
    (note,) = written.aggregations
    assert (note.status, note.reason, note.submitted) == ("skipped", ev.Skip.CHAIN_AHEAD, None)
    assert written.planned == ()


@pytest.mark.parametrize(("failures", "alerts"), [(0, 0), (1, 0), (2, 0), (3, 1), (4, 1)])
def test_a_failure_is_recorded_each_time_and_calls_for_help_after_the_third_retry(failures: int, alerts: int) -> None:
    intent = Intent("i", market_id(), Action.AGGREGATE_PROPOSAL, failures + 1, 2, 1)
    given = market(proposal=Tally(2, 1, 2, 1), intent=intent, failures=failures)
    written = change(given, settled(intent, IntentStatus.EXPIRED))
    assert [(note.status, note.reason) for note in written.aggregations] == [("failed", "expired")]
    assert [(alert.alert_type, alert.severity) for alert in written.alerts] == [("intent_failed", "HIGH")] * alerts


def test_an_attempt_that_was_too_early_calls_nobody() -> None:
    intent = Intent("i", market_id(), Action.FINALIZE, 1, None, None)
    given = market(state=Lifecycle.RESOLVING, intent=intent, failures=3)
    written = change(given, settled(intent, IntentStatus.FAILED, error_name="DisputePeriodNotEnded"))
    assert (written.alerts, written.aggregations) == ((), ())
