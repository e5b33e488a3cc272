"""When a market must be looked at next."""

from dataclasses import replace

import pytest

from domain.deadlines import ClockName, Deadline, next_deadline, reschedule
from domain.intents import Action, Intent
from domain.lifecycle import TERMINAL, Lifecycle
from domain.market import Market
from domain.tally import Tally
from tests.support.markets import NOON_S, market, market_id, now, rules

VOTED = market(proposal=Tally(2, 1, 2, 1))
READY = market(proposal=Tally(7, 3, 7, 3), confirmed_likes=7, confirmed_dislikes=3)

STUCK = Deadline(market().active_at_s + rules().stuck_after_s, ClockName.CHAIN)
"""When people hear of a market on which nothing happens any more."""


def test_changed_tallies_wait_for_the_next_instant_of_the_grid() -> None:
    assert next_deadline(VOTED, rules(), now(chain_s=NOON_S + 1)) == Deadline(NOON_S + 300, ClockName.CHAIN)


def test_on_the_grid_the_next_instant_is_the_one_after() -> None:
    assert next_deadline(VOTED, rules(), now(chain_s=NOON_S)) == Deadline(NOON_S + 300, ClockName.CHAIN)


def test_an_approval_that_our_key_may_send_waits_for_the_grid_too() -> None:
    assert next_deadline(READY, rules(), now()) == Deadline(NOON_S + 300, ClockName.CHAIN)


def test_a_retry_waits_on_the_wall_clock() -> None:
    given = replace(VOTED, next_attempt_at_s=NOON_S + 600)
    assert next_deadline(given, rules(), now()) == Deadline(NOON_S + 600, ClockName.WALL)


@pytest.mark.parametrize(
    "given",
    [
        market(),
        replace(VOTED, state=Lifecycle.APPROVED),
        replace(VOTED, confirmed_likes=2, confirmed_dislikes=1),
    ],
    ids=["no votes", "not proposed", "all submitted"],
)
def test_only_the_look_whether_it_is_stuck_remains_when(given: Market) -> None:
    assert next_deadline(given, rules(), now()) == STUCK


def test_an_approval_without_our_key_makes_no_deadline() -> None:
    assert next_deadline(READY, rules(may_approve=False), now()) == STUCK


@pytest.mark.parametrize("given", [VOTED, replace(VOTED, state=Lifecycle.RESOLVING)])
def test_nothing_is_due_while_an_attempt_is_under_way(given: Market) -> None:
    under_way = replace(given, intent=Intent("i", market_id(), Action.AGGREGATE_PROPOSAL, 1, 2, 1))
    assert next_deadline(under_way, rules(), now()) is None


@pytest.mark.parametrize("state", sorted(TERMINAL))
def test_a_market_that_has_ended_waits_for_nothing(state: Lifecycle) -> None:
    assert next_deadline(market(state=state), rules(), now()) is None


def test_votes_that_keep_coming_never_push_a_due_deadline_ahead() -> None:
    held, wanted = Deadline(NOON_S, ClockName.CHAIN), Deadline(NOON_S + 300, ClockName.CHAIN)
    assert reschedule(held, wanted) == held
    assert reschedule(wanted, held) == held


def test_a_deadline_on_another_clock_replaces_the_one_held() -> None:
    retry = Deadline(NOON_S + 600, ClockName.WALL)
    assert reschedule(Deadline(NOON_S, ClockName.CHAIN), retry) == retry


def test_a_deadline_that_is_not_wanted_any_more_is_dropped() -> None:
    assert reschedule(Deadline(NOON_S, ClockName.CHAIN), None) is None
    assert reschedule(None, None) is None
