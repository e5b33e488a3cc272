"""What can be claimed of a market that has ended, by the program's own arithmetic (CI 10.9)."""

from __future__ import annotations

import pytest

from domain.claims import claims_of
from domain.feed import announce, snapshot_payload
from domain.lifecycle import Lifecycle
from domain.market import Market
from tests.support.markets import NOON_S, market, market_id

SOL = 1_000_000_000


def ended(outcome: bool | None, **changes: object) -> Market:
    """A market that ended a minute after noon: 3 SOL of YES shares and 1 of NO besides the seed of 0.1 each."""
    facts: dict[str, object] = {
        "state": Lifecycle.FINALIZED,
        "final_outcome": outcome,
        "finalized_at_s": NOON_S + 60,
        "b_parameter": 100 * SOL,
        "shares_yes": 3 * SOL + SOL // 10,
        "shares_no": SOL + SOL // 10,
        "current_liquidity": 2 * SOL,
        "pool_lamports": 2 * SOL,
        "resolver_fees": 7,
    }
    return market(**{**facts, **changes})


@pytest.mark.parametrize("state", sorted(set(Lifecycle) - {Lifecycle.FINALIZED}))
def test_nothing_can_be_claimed_before_the_end(state: Lifecycle) -> None:
    assert claims_of(market(state=state)) is None


@pytest.mark.parametrize(("outcome", "shares"), [(True, 3 * SOL), (False, SOL)])
def test_winners_share_the_liquidity_but_for_the_seed_that_nobody_owns(outcome: bool, shares: int) -> None:
    claims = claims_of(ended(outcome))
    assert claims is not None
    assert claims.due == shares * 2 * SOL // (shares + SOL // 10)


def test_the_pool_pays_what_is_above_its_rent_and_the_resolvers_fees() -> None:
    claims = claims_of(ended(True))
    assert claims is not None
    assert (claims.payable, claims.available_at_s) == (2 * SOL - 7, NOON_S + 60)


def test_a_drained_pool_pays_nothing_whatever_is_due() -> None:
    claims = claims_of(ended(True, pool_lamports=3))
    assert claims is not None
    assert claims.payable == 0
    assert claims.due is not None and claims.due > 0


def test_an_invalid_market_pays_no_resolver_and_gives_back_what_was_put_in() -> None:
    claims = claims_of(ended(None))
    assert claims is not None
    assert (claims.payable, claims.due) == (2 * SOL, None)


def test_a_side_without_shares_has_nothing_coming() -> None:
    claims = claims_of(ended(False, shares_no=0))
    assert claims is not None
    assert claims.due == 0


@pytest.mark.parametrize(("outcome", "word"), [(True, "YES"), (False, "NO"), (None, "INVALID")])
def test_subscribers_hear_once_that_claims_are_enabled_and_of_what_outcome(outcome: bool | None, word: str) -> None:
    # given a market that resolves, when it is seen final
    before, after = market(state=Lifecycle.RESOLVING, market_seq=4), ended(outcome, market_seq=4)
    told, messages = announce(before, after, version=2)
    # then the state's change and the claims come as the next two numbers
    assert [(message.type, message.seq) for message in messages] == [("STATE_CHANGED", 5), ("CLAIMS_ENABLED", 6)]
    payload = messages[1].payload
    assert (payload["market_id"], payload["outcome"], messages[1].channel) == (
        market_id(),
        word,
        f"market_{market_id()}",
    )
    assert ("due_lamports" in payload) is (outcome is not None)
    # and what is seen of it later says it no more
    assert announce(told, told, version=3)[1] == ()


def test_a_snapshot_says_whether_claims_are_enabled() -> None:
    shown = snapshot_payload(ended(None))
    assert (shown["claims_enabled"], shown["outcome"]) == (True, "INVALID")
    before = snapshot_payload(market())
    assert (before["claims_enabled"], before["outcome"]) == (False, "")
