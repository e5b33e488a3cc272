"""What a market makes of votes that the database took: their places in the log, and the tallies they move."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from operator import attrgetter

from domain import events as ev
from domain.commands import CastVote, RecordChainVote
from domain.ids import MarketId
from domain.journal import Ballot, ChainBallot
from domain.market import Market, changed
from domain.tally import Tally, VoteType
from domain.votelog import LogEntry, leaf_of_vote

Taken = Sequence[Ballot | ChainBallot]
Places = Mapping[str, tuple[int, bytes]]
"""vote_id -> (sequence, leaf hash)."""

_vote_id = attrgetter("vote.vote_id")


def count(market: Market, taken: Taken, superseded: Sequence[LogEntry] = ()) -> tuple[list[ev.VotesCounted], Places]:
    """The events that count these votes, one for each vote type, and where each of them stands in its log.

    `superseded` are the entries whose wallets have voted anew with this: their weight goes, their places stay.
    """
    events, places = list[ev.VotesCounted](), dict[str, tuple[int, bytes]]()
    for kind, votes in _by_kind(taken).items():
        votes.sort(key=_vote_id)
        sequence, leaves = market.log(kind).size, list[bytes]()
        for each in votes:
            sequence += 1
            leaf = leaf_of_vote(each.vote, each.accepted_at_ms, each.market_version)
            leaves.append(leaf)
            places[each.vote.vote_id] = (sequence, leaf)
        counted = _tally([each.vote for each in votes])
        if superseded:
            counted = counted.minus(_tally([entry for entry in superseded if entry.vote_type is kind]))
        events.append(ev.VotesCounted(kind, counted, tuple(leaves), _shown_at_s(votes)))
    return events, places


def _shown_at_s(votes: Sequence[Ballot | ChainBallot]) -> int:
    """When the last of the chain's votes was cast; those through the API never come with them and have no such time."""
    if not isinstance(votes[0], ChainBallot):
        return 0
    return max(each.vote.voted_at_s for each in votes if isinstance(each, ChainBallot))


def _by_kind(taken: Taken) -> dict[VoteType, list[Ballot | ChainBallot]]:
    kinds: dict[VoteType, list[Ballot | ChainBallot]] = defaultdict(list)
    for each in taken:
        kinds[each.vote.vote_type].append(each)
    return kinds


def _tally(votes: Iterable[CastVote | RecordChainVote | LogEntry]) -> Tally:
    yes = no = yes_voters = no_voters = 0
    for vote in votes:
        if vote.choice:
            yes += vote.weight
            yes_voters += 1
        else:
            no += vote.weight
            no_voters += 1
    return Tally(yes, no, yes_voters, no_voters)


def recounted(market: Market, sums: Mapping[tuple[MarketId, VoteType], Tally]) -> Market:
    """The market with what its stored votes add up to; the logs keep every leaf, so an audit still finds who wrote."""
    tallies = {kind: sums.get((market.market_id, kind), Tally()) for kind in VoteType}
    return changed(market, proposal=tallies[VoteType.PROPOSAL], dispute=tallies[VoteType.DISPUTE])
