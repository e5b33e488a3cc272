"""Given a market, when the database has taken votes, then they are counted and stand in the log like this."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

from domain.counting import count
from domain.events import VotesCounted
from domain.journal import Ballot, ChainBallot
from domain.market import Market, evolve
from domain.merkle import Frontier, leaf_hash
from domain.tally import Tally, VoteType
from domain.votelog import LogEntry, leaf_of
from tests.support.markets import market
from tests.support.storage import ballot, chain_ballot, entry

DISPUTE: dict[str, Any] = {"vote_type": VoteType.DISPUTE}
OLD_LOG = Frontier().plus_all([leaf_hash(b"old")] * 5)


def after(given: Market, taken: list[Ballot | ChainBallot], superseded: list[LogEntry]) -> Market:
    for event in count(given, taken, superseded)[0]:
        given = evolve(given, event)
    return given


def test_votes_stand_in_the_order_of_their_ids_whatever_order_they_came_in() -> None:
    given = market(proposal_log=OLD_LOG, proposal=Tally(5, 0, 5, 0))
    votes: list[Ballot | ChainBallot] = [ballot(number, 2, number % 3 > 0) for number in range(20)]
    in_order = sorted(votes, key=lambda each: each.vote.vote_id)
    expected = {each.vote.vote_id: (6 + place, leaf_of(entry(each))) for place, each in enumerate(in_order)}
    for seed in range(5):
        random.Random(seed).shuffle(votes)
        events, places = count(given, votes)
        leaves = tuple(leaf for _, leaf in expected.values())
        assert events == [VotesCounted(VoteType.PROPOSAL, Tally(13, 7, 13, 7), leaves)]
        assert places == expected
    moved = after(given, votes, [])
    assert moved.proposal == Tally(18, 7, 18, 7)
    assert moved.proposal_log == OLD_LOG.plus_all(leaf_of(entry(each)) for each in in_order)


def test_each_type_has_its_own_log_and_its_own_numbers() -> None:
    given = market(proposal_log=OLD_LOG)
    votes = [ballot(1, 2), ballot(2, 2, False, weight=2**64 - 1, **DISPUTE)]
    events, places = count(given, votes)
    assert {event.vote_type: event.counted for event in events} == {
        VoteType.PROPOSAL: Tally(1, 0, 1, 0),
        VoteType.DISPUTE: Tally(0, 2**64 - 1, 0, 1),
    }
    assert [places[each.vote.vote_id][0] for each in votes] == [6, 1]


def test_a_superseded_vote_gives_its_weight_back_and_keeps_its_place() -> None:
    given = market(dispute=Tally(100, 7, 2, 1), dispute_log=OLD_LOG)
    mine = ballot(1, 2, weight=60, **DISPUTE)
    seen = chain_ballot(1, 3, False, weight=55, **DISPUTE)
    moved = after(given, [seen], [entry(mine)])
    assert moved.dispute == Tally(40, 62, 1, 2)
    assert moved.dispute_log == OLD_LOG.plus(leaf_of(entry(seen)))
    assert (moved.proposal, moved.proposal_log) == (given.proposal, given.proposal_log)


def test_a_chain_vote_that_says_the_same_moves_the_log_and_not_the_tally() -> None:
    given = market(proposal=Tally(3, 2, 3, 2))
    moved = after(given, [chain_ballot(1, 3)], [entry(ballot(1, 2))])
    assert moved == replace(given, proposal_log=moved.proposal_log)
    assert moved.proposal_log.size == 1
