"""Stuck markets: given one that last moved at some instant, when deadlines fire, then one notice a day."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from domain import events as ev
from domain.commands import FireDeadline, ObserveMarket
from domain.deadlines import next_deadline
from domain.decisions import decide
from domain.intents import Action, Intent
from domain.lifecycle import TERMINAL, Lifecycle
from domain.market import Market, evolve
from domain.refusals import AlreadyInState
from domain.rules import Now
from domain.stuck import DAY_S, active
from domain.tally import Tally, VoteType
from tests.support.markets import NOON_S, market, market_id, now, observed, rules

FIRST_S = market().active_at_s + 30 * DAY_S
MOVING = sorted(set(Lifecycle) - TERMINAL)


def fire(given: Market, chain_s: int, **changes: Any) -> Any:
    return decide(given, FireDeadline(market_id()), rules(), replace(now(chain_s=chain_s), **changes))


def noticed(given: Market, chain_s: int) -> list[int]:
    decision = fire(given, chain_s)
    return [event.at_s for event in decision if isinstance(event, ev.StuckNoticed)] if _happened(decision) else []


def _happened(decision: Any) -> bool:
    return isinstance(decision, tuple)


def after(given: Market, happened: Sequence[ev.Event], by: Now) -> Market:
    """As the actor folds it."""
    folded = given
    for event in happened:
        folded = evolve(folded, event)
    return active(given, folded, happened, by)


@pytest.mark.parametrize("state", MOVING)
def test_thirty_days_without_activity_are_noticed_and_a_second_less_is_not(state: Lifecycle) -> None:
    given = market(state=state, resolution_proposed_at_s=NOON_S, dispute_initiated_at_s=NOON_S)
    assert noticed(given, FIRST_S - 1) == []
    assert noticed(given, FIRST_S) == [FIRST_S]


@pytest.mark.parametrize("state", sorted(TERMINAL))
def test_a_market_that_has_ended_is_never_stuck(state: Lifecycle) -> None:
    assert fire(market(state=state), FIRST_S + DAY_S) == AlreadyInState(market_id())


def test_a_market_is_noticed_once_a_day_however_often_it_is_looked_at() -> None:
    # given a market that is looked at every hour for ten days
    given, told = market(state=Lifecycle.ACTIVE), []
    for chain_s in range(FIRST_S, FIRST_S + 10 * DAY_S, 3_600):
        # when a deadline fires
        decision = fire(given, chain_s)
        for event in decision if _happened(decision) else ():
            told.append(event.at_s)
            given = evolve(given, event)
    # then each day has one notice
    assert told == [FIRST_S + day * DAY_S for day in range(10)]


def test_days_that_nobody_was_here_for_are_told_as_one_and_the_rhythm_stays() -> None:
    given = market(state=Lifecycle.ACTIVE)
    (at_s,) = noticed(given, FIRST_S + 5 * DAY_S + 60)
    assert at_s == FIRST_S + 5 * DAY_S
    told = replace(given, stuck_told_at_s=at_s)
    deadline = next_deadline(told, rules(), now(chain_s=at_s + 60))
    assert deadline is not None and deadline.at_s == at_s + DAY_S


def test_nothing_is_noticed_before_the_chains_clock_is_known() -> None:
    given = market(state=Lifecycle.ACTIVE)
    assert fire(given, FIRST_S, has_chain_time=False) == AlreadyInState(market_id())


@pytest.mark.parametrize(
    "changes",
    [{"state": Lifecycle.APPROVED, "approved_at_s": FIRST_S - 5}, {"total_volume": 1}, {"shares_yes": 1}],
    ids=["state", "volume", "shares"],
)
def test_what_the_chain_shows_newly_begins_the_thirty_days_again(changes: dict[str, Any]) -> None:
    given = market(stuck_told_at_s=FIRST_S - DAY_S)
    at = now(chain_s=FIRST_S)
    seen = decide(given, ObserveMarket(market_id(), observed(slot=20, **changes)), rules(), at)
    assert isinstance(seen, tuple)
    moved = after(given, seen, at)
    assert moved.stuck_told_at_s == 0
    assert moved.active_at_s == (FIRST_S - 5 if "state" in changes else FIRST_S)


def test_a_look_that_shows_only_another_owner_of_lamports_is_no_activity() -> None:
    given = market(state=Lifecycle.ACTIVE, pool_lamports=5)
    at = now(chain_s=FIRST_S)
    seen = decide(
        given, ObserveMarket(market_id(), observed(slot=20, state=Lifecycle.ACTIVE, pool_lamports=9)), rules(), at
    )
    assert isinstance(seen, tuple)
    assert after(given, seen, at).active_at_s == given.active_at_s


def test_our_own_tallies_that_landed_are_activity_and_votes_through_the_api_are_none() -> None:
    given, at = market(), now(chain_s=FIRST_S)
    intent = Intent("i", market_id(), Action.AGGREGATE_PROPOSAL, 1, 2, 1)
    assert after(given, [ev.TalliesConfirmed(intent, 2, 1)], at).active_at_s == FIRST_S
    voted = ev.VotesCounted(VoteType.PROPOSAL, Tally(1, 0, 1, 0), (b"l" * 32,))
    assert after(given, [voted], at).active_at_s == given.active_at_s


def test_a_vote_that_the_chain_shows_is_activity_at_its_own_time() -> None:
    voted = ev.VotesCounted(VoteType.PROPOSAL, Tally(1, 0, 1, 0), (b"l" * 32,), on_chain_at_s=NOON_S + 77)
    assert after(market(), [voted], now(chain_s=FIRST_S)).active_at_s == NOON_S + 77


def test_a_proposal_without_votes_is_noticed_without_the_note_of_an_aggregation() -> None:
    assert fire(market(), FIRST_S) == (ev.StuckNoticed(FIRST_S),)


def test_what_is_due_besides_is_sent_all_the_same() -> None:
    given = market(state=Lifecycle.RESOLVING, resolution_proposed_at_s=NOON_S, proposed_outcome=True)
    plan, notice = fire(given, FIRST_S)
    assert isinstance(plan, ev.IntentPlanned)
    assert notice == ev.StuckNoticed(FIRST_S)
