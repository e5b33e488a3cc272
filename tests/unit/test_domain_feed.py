"""What a commit tells the world: the right messages, numbered without a gap."""

from dataclasses import replace

from domain.feed import announce, market_channel, votes_channel
from domain.lifecycle import Lifecycle
from domain.tally import Tally
from tests.support.markets import market, market_id


def test_a_new_tally_goes_to_both_channels_under_their_own_numbers() -> None:
    before = market(market_seq=4, votes_seq=9)
    after, messages = announce(before, replace(before, proposal=Tally(7, 3, 7, 3)), 2)
    assert [(message.places, message.type) for message in messages] == [
        (((market_channel(market_id()), 5), (votes_channel(market_id()), 10)), "VOTE_UPDATE")
    ]
    assert (after.market_seq, after.votes_seq, after.version) == (5, 10, 2)
    assert messages[0].payload == {
        "market_id": market_id(),
        "vote_type": "proposal",
        "likes": 7,
        "dislikes": 3,
        "percentage_bps": 7000,
    }


def test_a_new_state_is_told_once_on_the_market_channel() -> None:
    before = market()
    after, messages = announce(before, replace(before, state=Lifecycle.APPROVED), 2)
    assert [(message.places, message.type) for message in messages] == [
        (((market_channel(market_id()), 1),), "STATE_CHANGED")
    ]
    assert messages[0].payload == {"market_id": market_id(), "old_state": "PROPOSED", "new_state": "APPROVED"}
    assert after.votes_seq == 0


def test_weights_are_decimal_strings() -> None:
    before = market(state=Lifecycle.DISPUTED)
    _, messages = announce(before, replace(before, dispute=Tally(2**64, 1, 1, 1)), 2)
    assert messages[0].payload["support"] == "18446744073709551616"


def test_both_tallies_and_a_new_state_have_numbers_of_their_own() -> None:
    before = market(state=Lifecycle.DISPUTED, market_seq=1, votes_seq=1)
    after, messages = announce(
        before, replace(before, state=Lifecycle.FINALIZED, proposal=Tally(1, 0, 1, 0), dispute=Tally(5, 0, 1, 0)), 2
    )
    assert [(message.type, message.seq, message.votes_seq) for message in messages] == [
        ("VOTE_UPDATE", 2, 2),
        ("VOTE_UPDATE", 3, 3),
        ("STATE_CHANGED", 4, None),
        ("CLAIMS_ENABLED", 5, None),
    ]
    assert (after.market_seq, after.votes_seq) == (5, 3)


def test_what_nobody_can_see_is_not_told() -> None:
    before = market()
    assert announce(before, replace(before, approval_ready=True), 9)[1] == ()
    assert announce(None, before, 1)[1] == ()
