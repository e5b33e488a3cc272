"""When a difference between database and chain is one; given, when and then in plain values."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from domain.events import MarketAdopted
from domain.ids import Wallet
from domain.intents import Action, Intent
from domain.lifecycle import Lifecycle
from domain.market import Market, evolve
from domain.positions import Holding, PositionRead, StoredPosition
from domain.reconciliation import (
    SETTLE_SLOTS,
    Difference,
    Pair,
    Suspicion,
    judge,
    market_differences,
    position_differences,
    reported,
)
from tests.support.markets import market_id, observed, wallet

PDA = Wallet("p" * 44)
HELD = Holding(market_id(), wallet(1))
SLOT = 100


def stored(**changes: Any) -> Market:
    return replace(evolve(None, MarketAdopted(observed())), **changes)


def fields(differences: list[Difference]) -> dict[str, tuple[str, str]]:
    return {d.field: (d.database_value, d.chain_value) for d in differences}


def test_equal_is_no_difference() -> None:
    assert market_differences(stored(), observed(), SLOT, None) == []


@pytest.mark.parametrize("state", list(Lifecycle))
def test_each_state_is_compared_by_its_name(state: Lifecycle) -> None:
    found = fields(market_differences(stored(state=state), observed(), SLOT, None))
    assert found == ({} if state is Lifecycle.PROPOSED else {"state": (state.name, "PROPOSED")})


def test_outcomes_are_compared_and_no_is_not_none() -> None:
    account = observed(proposed_outcome=False, final_outcome=True)
    assert fields(market_differences(stored(final_outcome=False), account, SLOT, None)) == {
        "proposed_outcome": ("", "NO"),
        "final_outcome": ("NO", "YES"),
    }


def test_the_chains_tally_is_held_against_the_confirmed_pair_and_not_against_the_votes() -> None:
    account = observed(proposal_likes=7, proposal_dislikes=3)
    given = stored(confirmed_likes=7, confirmed_dislikes=3, proposal=replace(stored().proposal, yes=50, yes_voters=50))
    assert market_differences(given, account, SLOT, None) == []
    assert fields(market_differences(stored(), account, SLOT, None)) == {"proposal_tally": ("0:0", "7:3")}


def test_a_disputes_tally_is_compared_once_one_of_ours_was_confirmed() -> None:
    account = observed(dispute_agree=6, dispute_disagree=4)
    assert market_differences(stored(), account, SLOT, None) == []
    assert market_differences(stored(), account, SLOT, Pair(6, 4)) == []
    assert fields(market_differences(stored(), account, SLOT, Pair(4, 6))) == {"dispute_tally": ("4:6", "6:4")}


def test_tallies_are_not_compared_while_an_attempt_may_have_landed() -> None:
    given = stored(intent=Intent("id", market_id(), Action.AGGREGATE_PROPOSAL, 1, 7, 3))
    assert market_differences(given, observed(proposal_likes=7, proposal_dislikes=3), SLOT, Pair(1, 1)) == []


def test_a_row_that_is_newer_than_the_read_is_left_out() -> None:
    given = stored(state=Lifecycle.APPROVED, observed_slot=SLOT + 1)
    assert market_differences(given, observed(), SLOT, None) == []
    assert market_differences(replace(given, observed_slot=SLOT), observed(), SLOT, None) != []


def test_a_market_without_an_account_is_told() -> None:
    assert fields(market_differences(stored(), None, SLOT, None)) == {"account": ("PROPOSED", "missing")}


def test_positions_differ_by_every_amount_and_by_the_claim() -> None:
    row = StoredPosition(HELD, 90, 90, 1, 2, 3, 4, 5, False, 0, PDA)
    same = PositionRead(HELD, SLOT, PDA, 1, 2, 3, 4, 5, False, 0)
    assert position_differences(row, same) == []
    claimed = replace(same, shares_yes=2, has_claimed=True, claimed_amount=9)
    assert fields(position_differences(row, claimed)) == {
        "shares_yes": ("1", "2"),
        "has_claimed": ("False", "True"),
        "claimed_amount": ("0", "9"),
    }
    assert position_differences(replace(row, slot=SLOT + 1), claimed) == [], "newer than the read"
    assert position_differences(replace(row, touched_slot=91), claimed) == [], "it waits to be read again"


def difference(slot: int = SLOT, database: str = "ACTIVE", chain: str = "RESOLVING") -> Difference:
    return Difference(market_id(), None, "state", database, chain, slot)


def test_a_first_sight_is_only_suspected() -> None:
    verdict = judge([difference()], [])
    assert (verdict.confirmed, verdict.kept) == ((), (Suspicion(difference()),))


def test_a_second_sight_is_a_discrepancy_when_enough_slots_have_passed() -> None:
    early, late = difference(SLOT + SETTLE_SLOTS - 1), difference(SLOT + SETTLE_SLOTS)
    before = [Suspicion(difference())]
    assert judge([early], before).confirmed == ()
    assert judge([early], before).kept == tuple(before), "its time runs from the first sight"
    assert judge([late], before).confirmed == (late,)


def test_a_second_sight_waits_while_events_up_to_the_first_are_not_heard_of() -> None:
    late, before = difference(SLOT + 500), [Suspicion(difference())]
    assert judge([late], before, heard_slot=SLOT - 1).confirmed == ()
    assert judge([late], before, heard_slot=SLOT - 1).kept == tuple(before)
    assert judge([late], before, heard_slot=SLOT).confirmed == (late,)


def test_a_row_that_moved_in_between_is_on_its_way() -> None:
    moved = difference(SLOT + 500, database="RESOLVING", chain="DISPUTED")
    verdict = judge([moved], [Suspicion(difference())])
    assert (verdict.confirmed, verdict.kept) == ((), (Suspicion(moved),))


def test_what_is_equal_again_is_forgotten() -> None:
    assert judge([], [Suspicion(difference())]).kept == ()


def test_what_could_not_be_repaired_is_told_once() -> None:
    known = reported(difference(SLOT))
    verdict = judge([difference(SLOT + 500)], [known])
    assert (verdict.confirmed, verdict.kept) == ((), (known,))
