"""How a dispute ends: given a disputed market, when its window has ended, then one transaction."""

from dataclasses import replace
from typing import Any

import pytest

from domain import events as ev
from domain.commands import AggregateNow, FireDeadline, ObserveMarket, SettleIntent
from domain.deadlines import ClockName, Deadline, next_deadline
from domain.decisions import decide
from domain.disputes import MARGIN_S
from domain.intents import Action, Expectation, Intent, IntentStatus, Settlement
from domain.lifecycle import Lifecycle
from domain.market import Market, evolve
from domain.refusals import AlreadyInState, VotingClosing
from domain.rescale import U32_MAX
from domain.rules import Now, Rules, ZeroVotes
from domain.tally import Tally, VoteType
from tests.support.markets import NOON_S, market, market_id, now, observed, rules, vote

PERIOD_S = 259_200
END_S = NOON_S + PERIOD_S + MARGIN_S
FIRE = FireDeadline(market_id())


def disputed(tally: Tally | None = None, **changes: Any) -> Market:
    """A market whose proposed YES was disputed at noon."""
    given = market(
        state=Lifecycle.DISPUTED,
        proposed_outcome=True,
        resolution_proposed_at_s=NOON_S - 60,
        dispute_initiated_at_s=NOON_S,
        dispute=tally or Tally(6, 4, 2, 1),
    )
    return replace(given, **changes)


def at(chain_s: int) -> Now:
    return now(chain_s=chain_s)


def policy(zero_votes: ZeroVotes, **changes: Any) -> Rules:
    return replace(rules(**changes), zero_votes=zero_votes)


def planned(given: Market, by: Rules | None = None) -> ev.IntentPlanned:
    """The plan that the end of the window makes."""
    decision = decide(given, FIRE, by or rules(), at(END_S))
    assert isinstance(decision, tuple), decision
    (plan,) = decision
    assert isinstance(plan, ev.IntentPlanned), plan
    return plan


def when(given: Market, *commands: Any, by: Rules | None = None, chain_s: int = END_S) -> tuple[Market, list[ev.Event]]:
    """The market after the commands, and all that happened."""
    happened: list[ev.Event] = []
    for command in commands:
        decision = decide(given, command, by or rules(), at(chain_s))
        assert isinstance(decision, tuple), decision
        for event in decision:
            given = evolve(given, event)
            happened.append(event)
    return given, happened


def settled(intent: Intent, status: IntentStatus, **changes: Any) -> SettleIntent:
    return SettleIntent(market_id(), replace(Settlement(intent, status, "signature", 20, None, None), **changes))


def final(outcome: bool | None, agree: int = 6, disagree: int = 4, **changes: Any) -> Any:
    """The account after the end."""
    account = observed(
        slot=50,
        state=Lifecycle.FINALIZED,
        proposed_outcome=True,
        final_outcome=outcome,
        finalized_at_s=END_S,
        dispute_agree=agree,
        dispute_disagree=disagree,
    )
    return replace(account, **changes)


# --- when -------------------------------------------------------------------------------------------------------------


def test_the_window_is_the_live_dispute_period_from_the_dispute_in_chain_time() -> None:
    assert next_deadline(disputed(), rules(), now()) == Deadline(END_S, ClockName.CHAIN)
    longer = next_deadline(disputed(), rules(dispute_period_s=2 * PERIOD_S), now())
    assert longer == Deadline(END_S + PERIOD_S, ClockName.CHAIN)


def test_the_window_of_an_undisputed_resolution_runs_from_its_proposal() -> None:
    given = disputed(state=Lifecycle.RESOLVING)
    assert next_deadline(given, rules(), now()) == Deadline(END_S - 60, ClockName.CHAIN)


@pytest.mark.parametrize("command", [FIRE, AggregateNow(market_id())], ids=["deadline", "operator"])
def test_nothing_ends_a_dispute_before_its_window(command: Any) -> None:
    decision = decide(disputed(), command, rules(), at(END_S - 1))
    if command is FIRE:
        assert decision == AlreadyInState(market_id()), "an alarm that is early is set anew and noted nowhere"
    else:
        assert isinstance(decision, tuple)
        (skipped,) = decision
        assert isinstance(skipped, ev.AggregationSkipped)
        assert skipped.reason is ev.Skip.WINDOW_OPEN


def test_an_early_alarm_is_set_to_the_new_end() -> None:
    longer = rules(dispute_period_s=2 * PERIOD_S)
    assert decide(disputed(), FIRE, longer, at(END_S)) == AlreadyInState(market_id())
    assert next_deadline(disputed(), longer, at(END_S)) == Deadline(END_S + PERIOD_S, ClockName.CHAIN)


def test_no_window_ends_on_a_clock_that_is_not_the_chains() -> None:
    guess = replace(at(END_S + 999), has_chain_time=False)
    assert decide(disputed(), FIRE, rules(), guess) == AlreadyInState(market_id())


def test_after_the_window_a_market_that_cannot_be_ended_waits_for_the_grid() -> None:
    deadline = next_deadline(disputed(), rules(may_aggregate=False), at(END_S))
    assert deadline == Deadline(END_S // 300 * 300 + 300, ClockName.CHAIN)


def test_an_attempt_under_way_has_no_deadline_and_a_failed_one_its_retry() -> None:
    given = disputed()
    under_way = evolve(given, planned(given))
    assert next_deadline(under_way, rules(), at(END_S)) is None
    assert under_way.intent is not None
    failed, _ = when(under_way, settled(under_way.intent, IntentStatus.EXPIRED))
    deadline = next_deadline(failed, rules(), at(END_S))
    assert deadline == Deadline(failed.next_attempt_at_s, ClockName.WALL)
    assert 300 <= failed.next_attempt_at_s - NOON_S <= 330


# --- what -------------------------------------------------------------------------------------------------------------


def test_the_end_sends_the_exact_weights_once_and_closes_the_voting() -> None:
    given = disputed(Tally(6, 4, 2, 1))
    plan = planned(given)
    assert (plan.intent.action, plan.intent.pair, plan.closes_voting) == (Action.FINALIZE, (6, 4), True)
    assert (plan.tally, plan.threshold_bps, plan.is_synthetic) == (given.dispute, 6000, False)
    closed = evolve(given, plan)
    cast = vote(9, vote_type=VoteType.DISPUTE)
    assert decide(closed, cast, rules(), at(END_S)) == VotingClosing(market_id())
    assert decide(closed, FIRE, rules(), at(END_S + 300)) != (plan,)


def test_weights_beyond_u32_are_scaled_and_the_exact_ones_are_kept() -> None:
    given = disputed(Tally(7 * 10**15, 3 * 10**15, 9, 40))
    plan = planned(given)
    assert plan.intent.pair is not None and sum(plan.intent.pair) == U32_MAX
    assert plan.tally == given.dispute
    assert plan.expects == Expectation(*plan.intent.pair, 6000)


def test_many_small_rejections_weigh_less_than_one_large_support() -> None:
    assert planned(disputed(Tally(10**12, 1000, 1, 1000))).expects is not None
    expects = planned(disputed(Tally(10**12, 1000, 1, 1000))).expects
    assert expects is not None
    assert expects.outcome(proposed=True) is False, "support means that the resolution is wrong (T9)"
    swapped = planned(disputed(Tally(1000, 10**12, 1000, 1))).expects
    assert swapped is not None
    assert swapped.outcome(proposed=True) is True


@pytest.mark.parametrize(
    ("support", "reject", "flips"),
    [(60, 40, True), (6, 4, True), (5999, 4001, False), (599, 401, False), (1, 0, True), (0, 3, False)],
)
@pytest.mark.parametrize("scale", [1, 10**15])
def test_sixty_percent_exactly_flips_the_resolution_and_a_basis_point_less_does_not(
    support: int, reject: int, flips: bool, scale: int
) -> None:
    expects = planned(disputed(Tally(support * scale, reject * scale, 1, 1))).expects
    assert expects is not None
    assert expects.outcome(proposed=True) is (not flips)
    assert expects.outcome(proposed=False) is flips


def test_an_undisputed_market_ends_without_a_pair_and_counts_no_votes() -> None:
    plan = planned(disputed(Tally(), state=Lifecycle.RESOLVING))
    assert (plan.intent.action, plan.intent.pair, plan.intent.counts) == (Action.FINALIZE, None, None)
    assert (plan.closes_voting, plan.expects, plan.is_synthetic) == (False, None, False)


def test_without_votes_the_proposal_is_upheld_by_a_vote_that_nobody_cast() -> None:
    plan = planned(disputed(Tally()))
    assert (plan.intent.action, plan.intent.pair, plan.is_synthetic) == (Action.FINALIZE, (0, 1), True)
    assert plan.expects is not None
    assert plan.expects.outcome(proposed=True) is True
    assert plan.expects.outcome(proposed=False) is False


def test_votes_that_weigh_nothing_are_no_votes() -> None:
    assert planned(disputed(Tally(0, 0, 3, 2))).is_synthetic


def test_without_votes_the_policy_may_invalidate() -> None:
    plan = planned(disputed(Tally()), policy(ZeroVotes.INVALIDATE))
    assert (plan.intent.action, plan.intent.pair, plan.is_synthetic) == (Action.INVALIDATE, (0, 0), False)
    assert plan.expects is not None
    assert plan.expects.outcome(proposed=True) is None


def test_without_votes_the_policy_may_hold_and_says_so_once() -> None:
    by = policy(ZeroVotes.HOLD)
    held, (event,) = when(disputed(Tally()), FIRE, by=by)
    assert isinstance(event, ev.AggregationSkipped)
    assert event.reason is ev.Skip.HELD
    stuck = Deadline(held.active_at_s + by.stuck_after_s, ClockName.CHAIN)
    assert next_deadline(held, by, at(END_S)) == stuck, "nothing is sent, and it is not forgotten either"
    assert decide(held, FIRE, by, at(END_S + 300)) == AlreadyInState(market_id())
    late = replace(held, dispute=Tally(5, 0, 1, 0))
    assert next_deadline(late, by, at(END_S)) != stuck, "a vote that comes after all ends it"


@pytest.mark.parametrize("zero_votes", list(ZeroVotes))
def test_votes_are_never_sent_by_the_instruction_that_ends_disputes_wrongly(zero_votes: ZeroVotes) -> None:
    assert planned(disputed(Tally(0, 1, 0, 1)), policy(zero_votes)).intent.action is Action.FINALIZE


# --- what came of it --------------------------------------------------------------------------------------------------


def on_its_way(tally: Tally | None = None, by: Rules | None = None) -> tuple[Market, Intent]:
    given = disputed(tally)
    given = evolve(given, planned(given, by))
    assert given.intent is not None
    return given, given.intent


def test_the_expected_end_is_taken_in() -> None:
    given, intent = on_its_way()
    ended, events = when(given, settled(intent, IntentStatus.CONFIRMED, observed=final(False)))
    assert [type(event) for event in events] == [ev.MarketObserved, ev.FinalizationConfirmed]
    assert (ended.state, ended.final_outcome, ended.intent) == (Lifecycle.FINALIZED, False, None)
    assert next_deadline(ended, rules(), at(END_S)) is None


def test_a_confirmed_end_that_no_read_has_shown_reopens_nothing() -> None:
    given, intent = on_its_way()
    ended, _ = when(given, settled(intent, IntentStatus.CONFIRMED))
    cast = vote(9, vote_type=VoteType.DISPUTE)
    assert decide(ended, cast, rules(), at(END_S)) == VotingClosing(market_id())
    assert next_deadline(ended, rules(), at(END_S)) is not None, "it is looked at again"
    again, _ = when(ended, FIRE)
    assert again.intent is not None
    failed, _ = when(again, settled(again.intent, IntentStatus.FAILED, error_name="InvalidMarketState"))
    assert decide(failed, cast, rules(), at(END_S)) == VotingClosing(market_id())


@pytest.mark.parametrize("status", [IntentStatus.FAILED, IntentStatus.EXPIRED])
def test_voting_opens_again_when_the_end_had_no_effect(status: IntentStatus) -> None:
    given, intent = on_its_way()
    reopened, _ = when(given, settled(intent, status))
    assert (reopened.voting_closed, reopened.expectation, reopened.failures) == (False, None, 1)
    cast = vote(9, vote_type=VoteType.DISPUTE)
    assert decide(reopened, cast, rules(), at(END_S)) == (ev.VoteAdmitted(cast),)


def test_an_end_whose_slot_was_dropped_is_planned_again() -> None:
    given, intent = on_its_way()
    ended, _ = when(given, settled(intent, IntentStatus.CONFIRMED, observed=final(False)))
    back = observed(slot=99, state=Lifecycle.DISPUTED, proposed_outcome=True, dispute_initiated_at_s=NOON_S)
    undone, _ = when(ended, settled(intent, IntentStatus.EXPIRED, observed=back))
    assert (undone.state, undone.expectation) == (Lifecycle.DISPUTED, None)
    assert planned(undone).intent.pair == (6, 4)


def test_too_early_for_the_program_is_no_failure() -> None:
    given = disputed(state=Lifecycle.RESOLVING)
    given = evolve(given, planned(given))
    assert given.intent is not None
    waiting, (event,) = when(given, settled(given.intent, IntentStatus.FAILED, error_name="DisputePeriodNotEnded"))
    assert isinstance(event, ev.AttemptTooEarly)
    assert (waiting.failures, waiting.intent) == (0, None)
    assert next_deadline(waiting, rules(), at(END_S)) == Deadline(event.next_attempt_at_s, ClockName.WALL)


def test_another_outcome_than_was_sent_for_is_said_with_both_numbers() -> None:
    given, intent = on_its_way()
    _, events = when(given, settled(intent, IntentStatus.CONFIRMED, observed=final(True, 3, 7)))
    wrong = ev.FinalizationMismatched(False, True, Expectation(6, 4, 6000), (3, 7))
    assert wrong in events


def test_the_expectation_is_that_of_the_plan_even_if_the_threshold_has_moved() -> None:
    given, _ = on_its_way()
    _, events = when(given, ObserveMarket(market_id(), final(False)), by=rules(dispute_threshold_bps=6500))
    assert [type(event) for event in events] == [ev.MarketObserved]


@pytest.mark.parametrize(("outcome", "is_wrong"), [(False, False), (True, True), (None, True)])
def test_an_end_that_somebody_else_made_is_held_against_the_tally_of_now(outcome: bool | None, is_wrong: bool) -> None:
    _, events = when(disputed(Tally(60, 40, 1, 1)), ObserveMarket(market_id(), final(outcome)))
    assert any(isinstance(event, ev.FinalizationMismatched) for event in events) is is_wrong


@pytest.mark.parametrize(
    ("zero_votes", "outcome", "is_wrong"),
    [
        (ZeroVotes.UPHOLD, True, False),
        (ZeroVotes.UPHOLD, False, True),
        (ZeroVotes.INVALIDATE, None, False),
        (ZeroVotes.INVALIDATE, True, True),
        (ZeroVotes.HOLD, False, False),
    ],
)
def test_an_end_without_votes_is_held_against_the_policy(
    zero_votes: ZeroVotes, outcome: bool | None, is_wrong: bool
) -> None:
    shown = ObserveMarket(market_id(), final(outcome, 0, 1))
    _, events = when(disputed(Tally()), shown, by=policy(zero_votes))
    assert any(isinstance(event, ev.FinalizationMismatched) for event in events) is is_wrong


def test_an_end_is_looked_at_once() -> None:
    given, _ = on_its_way()
    ended, _ = when(given, ObserveMarket(market_id(), final(True)))
    later = ObserveMarket(market_id(), final(True, current_liquidity=7, slot=60))
    _, events = when(ended, later)
    assert [type(event) for event in events] == [ev.MarketObserved]
