"""Given a market, when a command comes, then these events or this refusal."""

from dataclasses import FrozenInstanceError, replace
from typing import Any

import pytest

from domain import events as ev
from domain.aggregation import approvable
from domain.commands import (
    AdoptMarket,
    AggregateNow,
    Command,
    DescribeMarket,
    FireDeadline,
    ObserveMarket,
    SettleIntent,
)
from domain.decisions import decide
from domain.intents import Action, Intent, IntentStatus, Settlement
from domain.lifecycle import Lifecycle
from domain.market import VOTABLE_STATE, Market, changed, evolve
from domain.merkle import Frontier, leaf_hash
from domain.observed import ObservedMarket
from domain.refusals import AlreadyInState, MarketNotFound, NotTheCreator, VotingClosing, WrongState
from domain.retries import HOURLY_S, RETRY_DELAYS_S, calls_for_help, retry_delay_s
from domain.rules import Now, Rules
from domain.tally import Tally, VoteType
from tests.support.markets import ADMIN, CREATOR, NOON_S, market, market_id, now, observed, rules, vote, wallet
from tests.support.storage import chain_vote

SEVEN_TO_THREE = Tally(7, 3, 7, 3)
LEAF = leaf_hash(b"a vote")

Events = tuple[ev.Event, ...]


def when(
    given: Market | None, command: Command, by: Rules | None = None, at: Now | None = None
) -> tuple[ev.Event, ...]:
    """The events of a command that is not refused."""
    decision = decide(given, command, by or rules(), at or now())
    assert isinstance(decision, tuple), decision
    return decision


def after(given: Market, events: Events) -> Market:
    for event in events:
        given = evolve(given, event)
    return given


def settle(intent: Intent, status: IntentStatus, **changes: object) -> SettleIntent:
    settlement = Settlement(intent, status, "signature", 20, None, None)
    return SettleIntent(intent.market_id, replace(settlement, **changes))  # type: ignore[arg-type]


# --- votes ------------------------------------------------------------------------------------------------------------


def test_a_proposed_market_admits_a_proposal_vote() -> None:
    assert when(market(), vote(1)) == (ev.VoteAdmitted(vote(1)),)


def test_a_market_that_nobody_knows_refuses() -> None:
    assert decide(None, vote(1), rules(), now()) == MarketNotFound(market_id())


@pytest.mark.parametrize("state", [state for state in Lifecycle if state is not Lifecycle.PROPOSED])
def test_a_proposal_vote_is_refused_in_every_other_state(state: Lifecycle) -> None:
    refusal = decide(market(state=state), vote(1), rules(), now())
    assert refusal == WrongState(market_id(), state, Lifecycle.PROPOSED)


@pytest.mark.parametrize("state", list(Lifecycle))
def test_a_dispute_vote_is_admitted_in_a_disputed_market_only(state: Lifecycle) -> None:
    cast = vote(1, vote_type=VoteType.DISPUTE)
    refusal = decide(market(state=state), cast, rules(), now())
    assert (refusal == (ev.VoteAdmitted(cast),)) is (state is Lifecycle.DISPUTED)


def test_the_wrong_state_comes_before_closing() -> None:
    given = market(state=Lifecycle.APPROVED, voting_closed=True)
    assert isinstance(decide(given, vote(1), rules(), now()), WrongState)


def test_no_vote_gets_in_while_the_tallies_are_on_their_way() -> None:
    assert decide(market(voting_closed=True), vote(1), rules(), now()) == VotingClosing(market_id())


def test_counted_votes_move_one_tally_only() -> None:
    given = market(proposal=SEVEN_TO_THREE)
    moved = evolve(given, ev.VotesCounted(VoteType.PROPOSAL, Tally(2, 1, 2, 1), (LEAF,) * 3))
    assert (moved.proposal, moved.dispute) == (Tally(9, 4, 9, 4), Tally())
    assert (moved.proposal_log, moved.dispute_log) == (Frontier().plus_all([LEAF] * 3), Frontier())


# --- votes that the chain shows ---------------------------------------------------------------------------------------


def test_a_market_counts_a_chain_vote_where_it_takes_votes() -> None:
    assert when(market(), chain_vote(1, vote_id="1")) == (ev.VoteAdmitted(chain_vote(1, vote_id="1")),)
    disputed = market(state=Lifecycle.DISPUTED)
    heavy = chain_vote(1, vote_id="1", vote_type=VoteType.DISPUTE, weight=0)
    assert when(disputed, heavy) == (ev.VoteAdmitted(heavy),)


@pytest.mark.parametrize("kind", list(VoteType))
def test_a_chain_vote_waits_while_the_tallies_are_on_their_way(kind: VoteType) -> None:
    given = market(state=VOTABLE_STATE[kind], voting_closed=True, dispute_initiated_at_s=5)
    assert decide(given, chain_vote(1, vote_type=kind), rules(), now()) == VotingClosing(market_id())


@pytest.mark.parametrize("state", [state for state in Lifecycle if state is not Lifecycle.PROPOSED])
def test_a_proposal_vote_on_chain_is_late_once_the_market_has_left_its_start(state: Lifecycle) -> None:
    given, seen = market(state=state, voting_closed=True), chain_vote(1, vote_id="1")
    assert when(given, seen) == (ev.ChainVoteCameLate(seen),)
    assert after(given, when(given, seen)) == given


@pytest.mark.parametrize("state", [state for state in Lifecycle if state < Lifecycle.DISPUTED])
def test_a_dispute_vote_on_chain_waits_for_the_dispute_and_is_late_after_it(state: Lifecycle) -> None:
    seen = chain_vote(1, vote_id="1", vote_type=VoteType.DISPUTE)
    before = market(state=state)
    assert decide(before, seen, rules(), now()) == WrongState(market_id(), state, Lifecycle.DISPUTED)
    assert when(market(state=state, dispute_initiated_at_s=5), seen) == (ev.ChainVoteCameLate(seen),)


@pytest.mark.parametrize("state", [Lifecycle.FINALIZED, Lifecycle.CANCELLED])
def test_nothing_on_chain_counts_after_the_end(state: Lifecycle) -> None:
    seen = chain_vote(1, vote_id="1", vote_type=VoteType.DISPUTE)
    assert when(market(state=state), seen) == (ev.ChainVoteCameLate(seen),)


def test_a_chain_vote_of_a_market_that_nobody_knows_is_refused() -> None:
    assert decide(None, chain_vote(1), rules(), now()) == MarketNotFound(market_id())


# --- entering ---------------------------------------------------------------------------------------------------------


def test_a_market_is_adopted_as_its_account_shows_it() -> None:
    account = observed(state=Lifecycle.ACTIVE, slot=77, proposal_likes=12, proposal_dislikes=1)
    adopted = after(market(), when(None, AdoptMarket(market_id(), account)))
    assert (adopted.state, adopted.creator, adopted.observed_slot) == (Lifecycle.ACTIVE, CREATOR, 77)
    assert (adopted.confirmed_likes, adopted.confirmed_dislikes) == (12, 1)


def test_adopting_twice_is_an_observation() -> None:
    account = observed(state=Lifecycle.APPROVED, slot=11)
    assert when(market(), AdoptMarket(market_id(), account)) == (ev.MarketObserved(account),)


def test_an_older_read_never_overwrites_a_newer_one() -> None:
    stale = ObserveMarket(market_id(), observed(state=Lifecycle.APPROVED, slot=9))
    assert decide(market(), stale, rules(), now()) == AlreadyInState(market_id())


def test_a_newer_read_that_shows_nothing_new_is_no_event() -> None:
    same = ObserveMarket(market_id(), observed(slot=99))
    assert decide(market(), same, rules(), now()) == AlreadyInState(market_id())


def test_the_creator_describes_a_market() -> None:
    described = when(market(), DescribeMarket(market_id(), CREATOR, False, "Will it rain?", "weather"))
    assert described == (ev.MarketDescribed("Will it rain?", "weather"),)


def test_nobody_else_describes_it_but_the_admin_tier() -> None:
    stranger = DescribeMarket(market_id(), wallet(9), False, "?", "")
    assert decide(market(), stranger, rules(), now()) == NotTheCreator(market_id())
    assert when(market(), replace(stranger, by_admin=True)) == (ev.MarketDescribed("?", ""),)


# --- aggregation ------------------------------------------------------------------------------------------------------


def test_changed_tallies_are_sent_at_the_deadline() -> None:
    (planned,) = when(market(proposal=Tally(2, 1, 2, 1)), FireDeadline(market_id()))
    assert isinstance(planned, ev.IntentPlanned)
    assert (planned.intent.action, planned.intent.yes, planned.intent.no) == (Action.AGGREGATE_PROPOSAL, 2, 1)
    assert not planned.closes_voting


def test_tallies_that_will_be_approved_close_the_voting_with_the_same_event() -> None:
    (planned,) = when(market(proposal=SEVEN_TO_THREE), FireDeadline(market_id()))
    assert isinstance(planned, ev.IntentPlanned)
    assert planned.closes_voting
    assert evolve(market(), planned).voting_closed


@pytest.mark.parametrize(
    ("tally", "changes", "why"),
    [
        (Tally(6999, 3001), {}, "one basis point short"),
        (Tally(9, 0), {}, "below the quorum of ten"),
        (Tally(7, 3), {"may_approve": False}, "no admin key"),
        (Tally(7, 3), {"proposal_threshold_bps": 7001}, "the live threshold is higher"),
    ],
)
def test_voting_stays_open_when_no_approval_follows(tally: Tally, changes: dict[str, Any], why: str) -> None:
    given = market(proposal=replace(tally, yes_voters=tally.yes, no_voters=tally.no))
    (planned,) = when(given, FireDeadline(market_id()), rules(**changes))
    assert isinstance(planned, ev.IntentPlanned), why
    assert not planned.closes_voting, why


def skipped(given: Market, command: Command, by: Rules | None = None, at: Now | None = None) -> ev.Skip:
    """Why nothing was sent."""
    (event,) = when(given, command, by, at)
    assert isinstance(event, ev.AggregationSkipped), event
    return event.reason


UNCHANGED = market(proposal=Tally(2, 1, 2, 1), confirmed_likes=2, confirmed_dislikes=1)


def test_unchanged_tallies_are_not_sent_again() -> None:
    assert skipped(UNCHANGED, FireDeadline(market_id())) is ev.Skip.UNCHANGED


@pytest.mark.parametrize(
    ("given", "by", "why"),
    [
        (market(proposal=SEVEN_TO_THREE, intent=Intent("i", market_id(), Action.APPROVE, 1)), rules(), "IN_FLIGHT"),
        (market(proposal=SEVEN_TO_THREE, next_attempt_at_s=NOON_S + 1), rules(), "RETRY_NOT_DUE"),
        (market(proposal=SEVEN_TO_THREE), rules(may_aggregate=False), "NOT_AUTHORITY"),
        (market(proposal=Tally(7, 3, 7, 3), confirmed_likes=8, confirmed_dislikes=3), rules(), "CHAIN_AHEAD"),
        (market(), rules(), "NO_VOTES"),
    ],
)
def test_a_tick_that_sends_nothing_notes_why_once(given: Market, by: Rules, why: str) -> None:
    assert skipped(given, FireDeadline(market_id()), by) is ev.Skip[why]
    given = after(given, when(given, FireDeadline(market_id()), by))
    assert decide(given, FireDeadline(market_id()), by, now()) == AlreadyInState(market_id())


def test_after_something_was_sent_the_same_reason_is_news_again() -> None:
    given = after(UNCHANGED, when(UNCHANGED, FireDeadline(market_id())))
    voted = replace(given, proposal=Tally(3, 1, 3, 1))
    planned = after(voted, when(voted, FireDeadline(market_id())))
    assert (given.skip_reason, planned.skip_reason) == (ev.Skip.UNCHANGED, "")


@pytest.mark.parametrize(
    ("given", "by"),
    [(market(proposal=SEVEN_TO_THREE, state=Lifecycle.ACTIVE), rules()), (market(), replace(rules(), config=None))],
    ids=["not proposed", "config unknown"],
)
def test_a_deadline_does_nothing_when(given: Market, by: Rules) -> None:
    assert decide(given, FireDeadline(market_id()), by, now()) == AlreadyInState(market_id())


# --- tallies of a database that knows less than the chain -------------------------------------------------------------

BEHIND = replace(market(), confirmed_likes=12, confirmed_dislikes=1)


@pytest.mark.parametrize("tally", [Tally(), Tally(1, 0, 1, 0), Tally(12, 0, 12, 0)], ids=["none", "one", "one less"])
def test_less_than_the_chain_holds_is_never_sent_and_never_approved(tally: Tally) -> None:
    given = replace(BEHIND, proposal=tally)
    assert skipped(given, FireDeadline(market_id())) is ev.Skip.CHAIN_AHEAD
    assert skipped(given, AggregateNow(market_id())) is ev.Skip.CHAIN_AHEAD
    assert not approvable(given, rules())


def test_as_much_as_the_chain_holds_is_sent() -> None:
    (planned,) = when(replace(BEHIND, proposal=Tally(11, 2, 11, 2)), FireDeadline(market_id()))
    assert isinstance(planned, ev.IntentPlanned)
    assert planned.intent.pair == (11, 2)


# --- an operator asks -------------------------------------------------------------------------------------------------


def test_an_operator_waits_for_no_retry() -> None:
    given = market(proposal=Tally(2, 1, 2, 1), next_attempt_at_s=NOON_S + 3_600, failures=4)
    (planned,) = when(given, AggregateNow(market_id()))
    assert isinstance(planned, ev.IntentPlanned)
    assert (planned.intent.pair, planned.intent.attempt) == ((2, 1), 5)


def test_an_operator_hears_each_time_why_nothing_is_sent() -> None:
    given = after(UNCHANGED, when(UNCHANGED, AggregateNow(market_id())))
    assert skipped(given, AggregateNow(market_id())) is ev.Skip.UNCHANGED
    assert skipped(market(state=Lifecycle.ACTIVE), AggregateNow(market_id())) is ev.Skip.STATE
    assert skipped(market(), AggregateNow(market_id()), replace(rules(), config=None)) is ev.Skip.CONFIG_UNKNOWN
    approving = market(intent=Intent("i", market_id(), Action.APPROVE, 1))
    assert skipped(approving, AggregateNow(market_id())) is ev.Skip.IN_FLIGHT


def test_an_operator_starts_nothing_beside_an_attempt_that_is_under_way() -> None:
    given, _ = closing()
    assert decide(given, AggregateNow(market_id()), rules(), now()) == AlreadyInState(market_id())


# --- settlements ------------------------------------------------------------------------------------------------------


def closing() -> tuple[Market, Intent]:
    """A market whose passing tallies are on their way."""
    given = market(proposal=SEVEN_TO_THREE)
    given = after(given, when(given, FireDeadline(market_id())))
    assert given.intent is not None
    return given, given.intent


def test_confirmed_tallies_that_pass_lead_to_the_approval() -> None:
    given, intent = closing()
    events = when(given, settle(intent, IntentStatus.CONFIRMED, observed=observed(slot=20, proposal_likes=7)))
    moved = after(given, events)
    assert [type(event) for event in events if not isinstance(event, ev.MarketObserved)] == [
        ev.TalliesConfirmed,
        ev.ApprovalBecameReady,
        ev.IntentPlanned,
    ]
    assert moved.intent is not None
    assert (moved.intent.action, moved.voting_closed, moved.approval_ready) == (Action.APPROVE, True, True)
    assert moved.state is Lifecycle.PROPOSED, "only the chain changes the state"


def test_without_the_admin_key_the_market_is_ready_and_stays_open() -> None:
    given = market(proposal=SEVEN_TO_THREE)
    keyless = rules(may_approve=False)
    given = after(given, when(given, FireDeadline(market_id()), keyless))
    assert given.intent is not None
    events = when(given, settle(given.intent, IntentStatus.CONFIRMED), keyless)
    assert events[1:] == (ev.ApprovalBecameReady(will_be_sent=False),)
    assert not after(given, events).voting_closed


def test_the_state_changes_when_the_account_shows_it() -> None:
    given, intent = closing()
    given = after(given, when(given, settle(intent, IntentStatus.CONFIRMED)))
    assert given.intent is not None
    account = observed(slot=30, state=Lifecycle.APPROVED, approved_at_s=NOON_S)
    approved = after(given, when(given, settle(given.intent, IntentStatus.CONFIRMED, observed=account)))
    assert (approved.state, approved.approved_at_s, approved.intent) == (Lifecycle.APPROVED, NOON_S, None)


@pytest.mark.parametrize("status", [IntentStatus.FAILED, IntentStatus.EXPIRED])
def test_voting_opens_again_when_the_attempt_ends_without_effect(status: IntentStatus) -> None:
    given, intent = closing()
    reopened = after(given, when(given, settle(intent, status, error_name="InsufficientVotes")))
    assert (reopened.voting_closed, reopened.intent, reopened.failures) == (False, None, 1)
    assert when(reopened, vote(11)) == (ev.VoteAdmitted(vote(11)),)


@pytest.mark.parametrize(("failures", "delay_s"), [(0, 300), (1, 600), (2, 1200), (3, 3600), (50, 3600)])
def test_the_wait_after_a_failure_grows_to_an_hour_with_up_to_a_tenth_on_top(failures: int, delay_s: int) -> None:
    given, intent = closing()
    given = replace(given, failures=failures)
    (failed,) = when(given, settle(intent, IntentStatus.EXPIRED))
    assert isinstance(failed, ev.AttemptFailed)
    assert 0 <= failed.next_attempt_at_s - NOON_S - delay_s <= delay_s // 10
    assert failed.failures == failures + 1
    assert after(given, (failed,)).failures == failures + 1


def test_the_jitter_is_a_function_of_the_attempt_and_spreads() -> None:
    waits = [retry_delay_s(1, f"intent-{number}") for number in range(1_000)]
    assert waits == [retry_delay_s(1, f"intent-{number}") for number in range(1_000)]
    assert set(waits) == set(range(300, 331))


def test_people_are_called_after_the_third_retry() -> None:
    assert [calls_for_help(failures) for failures in (1, 2, 3, 4, 5)] == [False, False, False, True, True]
    assert (*RETRY_DELAYS_S, HOURLY_S) == (300, 600, 1200, 3600)


def test_an_attempt_that_failed_because_its_market_moved_on_is_no_failure() -> None:
    given, intent = closing()
    moved = observed(slot=30, state=Lifecycle.CANCELLED)
    events = when(given, settle(intent, IntentStatus.FAILED, error_name="InvalidState", observed=moved))
    assert events[-1] == ev.AttemptFailed(intent, "InvalidState", 0, 0)
    assert (after(given, events).failures, after(given, events).next_attempt_at_s) == (0, 0)


def test_a_confirmed_approval_that_no_read_has_shown_keeps_the_voting_closed_whatever_fails_next() -> None:
    given, intent = closing()
    given = after(given, when(given, settle(intent, IntentStatus.CONFIRMED)))
    assert given.intent is not None
    given = after(given, when(given, settle(given.intent, IntentStatus.CONFIRMED)))
    assert (given.state, given.voting_closed, given.effect_unseen) == (Lifecycle.PROPOSED, True, True)
    given = after(given, when(given, FireDeadline(market_id())))
    assert given.intent is not None
    given = after(given, when(given, settle(given.intent, IntentStatus.FAILED, error_name="InvalidStateTransition")))
    assert decide(given, vote(11), rules(), now()) == VotingClosing(market_id())
    shown = ObserveMarket(market_id(), observed(slot=40, state=Lifecycle.APPROVED))
    given = after(given, when(given, shown))
    assert (given.state, given.voting_closed, given.effect_unseen) == (Lifecycle.APPROVED, False, False)


def test_a_read_that_still_shows_the_old_state_ends_the_waiting_for_the_effect() -> None:
    given = market(voting_closed=True, effect_unseen=True)
    given = after(given, when(given, ObserveMarket(market_id(), observed(slot=40))))
    assert not given.effect_unseen


def test_tallies_that_land_on_a_market_that_went_on_approve_nothing() -> None:
    given, intent = closing()
    account = observed(slot=30, state=Lifecycle.APPROVED, proposal_likes=7, proposal_dislikes=3)
    events = when(given, settle(intent, IntentStatus.CONFIRMED, observed=account))
    assert [type(event) for event in events] == [ev.MarketObserved, ev.TalliesConfirmed]


def test_a_new_state_opens_the_voting_that_the_old_one_had_closed() -> None:
    given = market(state=Lifecycle.RESOLVING, voting_closed=True, failures=3, next_attempt_at_s=NOON_S + 9)
    disputed = after(given, when(given, ObserveMarket(market_id(), observed(slot=40, state=Lifecycle.DISPUTED))))
    assert (disputed.voting_closed, disputed.failures, disputed.next_attempt_at_s) == (False, 0, 0)


def test_the_settlement_of_another_attempt_changes_nothing() -> None:
    given, intent = closing()
    stranger = replace(intent, intent_id="older")
    assert decide(given, settle(stranger, IntentStatus.FAILED), rules(), now()) == AlreadyInState(market_id())


def test_a_failed_approval_whose_account_is_approved_all_the_same_counts_as_seen() -> None:
    given, intent = closing()
    given = after(given, when(given, settle(intent, IntentStatus.CONFIRMED)))
    assert given.intent is not None
    account = observed(slot=30, state=Lifecycle.APPROVED)
    moved = after(
        given,
        when(given, settle(given.intent, IntentStatus.FAILED, error_name="InvalidStateTransition", observed=account)),
    )
    assert moved.state is Lifecycle.APPROVED
    assert ADMIN  # the admin signed it by hand


# --- a confirmation that is undone ------------------------------------------------------------------------------------

LANDED = Intent("landed", market_id(), Action.AGGREGATE_PROPOSAL, 1, 7, 3)


def confirmed(**changes: Any) -> Market:
    return replace(market(proposal=SEVEN_TO_THREE, confirmed_likes=7, confirmed_dislikes=3), **changes)


@pytest.mark.parametrize("status", [IntentStatus.EXPIRED, IntentStatus.FAILED])
def test_tallies_whose_slot_was_dropped_are_sent_again_at_the_next_tick(status: IntentStatus) -> None:
    given = confirmed()
    events = when(given, settle(LANDED, status))
    assert events == (ev.TalliesUndone(LANDED, 0, 0),)
    assert (given.unsubmitted, after(given, events).unsubmitted) == (False, True)


def test_with_the_pair_goes_the_readiness_for_approval() -> None:
    shown = observed(slot=99, proposal_likes=1, proposal_dislikes=3)
    events = when(confirmed(approval_ready=True), settle(LANDED, IntentStatus.EXPIRED, observed=shown))
    assert events[-2:] == (ev.TalliesUndone(LANDED, 1, 3), ev.ApprovalNoLongerReady())
    assert after(confirmed(approval_ready=True), events).approval_ready is False


def test_a_dropped_approval_takes_the_state_back_to_what_the_chain_shows() -> None:
    approval = Intent("approval", market_id(), Action.APPROVE, 1)
    given = confirmed(state=Lifecycle.APPROVED)
    events = when(given, settle(approval, IntentStatus.EXPIRED, observed=observed(slot=99, state=Lifecycle.PROPOSED)))
    assert after(given, events).state is Lifecycle.PROPOSED


def test_a_newer_pair_is_not_undone_by_the_end_of_an_older_one() -> None:
    given = confirmed(confirmed_likes=8)
    assert decide(given, settle(LANDED, IntentStatus.EXPIRED), rules(), now()) == AlreadyInState(market_id())


def test_a_pair_that_the_chain_holds_all_the_same_stays_confirmed() -> None:
    shown = observed(slot=99, proposal_likes=7, proposal_dislikes=3)
    refusal = decide(confirmed(), settle(LANDED, IntentStatus.EXPIRED, observed=shown), rules(), now())
    assert refusal == AlreadyInState(market_id())


# --- a pair that was taken for confirmed, and is not what the chain holds ---------------------------------------------


def corrected(shown: ObservedMarket) -> ObserveMarket:
    return ObserveMarket(market_id(), shown, corrects_tallies=True)


def test_a_pair_that_somebody_else_wrote_is_taken_and_ours_is_sent_again_at_the_next_tick() -> None:
    given = confirmed()
    events = when(given, corrected(observed(slot=99, proposal_likes=1, proposal_dislikes=3)))
    assert events[-1] == ev.TalliesCorrected(1, 3)
    then = after(given, events)
    assert ((then.confirmed_likes, then.confirmed_dislikes), then.unsubmitted) == ((1, 3), True)


def test_with_a_corrected_pair_goes_the_readiness_for_approval() -> None:
    given = confirmed(approval_ready=True)
    events = when(given, corrected(observed(slot=99)))
    assert events[-2:] == (ev.TalliesCorrected(0, 0), ev.ApprovalNoLongerReady())
    assert after(given, events).approval_ready is False


def test_a_pair_is_not_corrected_by_an_old_read_nor_while_an_attempt_is_under_way() -> None:
    shown = observed(slot=99, proposal_likes=1, proposal_dislikes=3)
    for given in (confirmed(observed_slot=100), confirmed(intent=LANDED)):
        assert decide(given, corrected(shown), rules(), now()) == AlreadyInState(market_id())


def test_an_ordinary_look_corrects_nothing() -> None:
    seen = when(confirmed(), ObserveMarket(market_id(), observed(slot=99, proposal_likes=1, total_volume=5)))
    assert seen == (ev.MarketObserved(observed(slot=99, proposal_likes=1, total_volume=5)),)


def test_a_changed_market_is_another_one_with_the_rest_as_it_was() -> None:
    before = market()
    after = changed(before, version=7, proposal=Tally(1, 0, 1, 0))
    assert after == replace(before, version=7, proposal=Tally(1, 0, 1, 0))
    assert before == market()
    with pytest.raises(AttributeError):
        changed(before, no_such_field=1)
    with pytest.raises(FrozenInstanceError):
        after.version = 8  # type: ignore[misc]  # what must not be possible
