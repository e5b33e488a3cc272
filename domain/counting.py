"""What a market makes of votes that the database took: their places in the log, and the tallies they move."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from domain import events as ev
from domain.journal import Ballot, ChainBallot
from domain.market import Market
from domain.tally import Tally, VoteType
from domain.votelog import LogEntry, entry_of, leaf_of

Taken = Sequence[Ballot | ChainBallot]
Places = Mapping[str, tuple[int, bytes]]
"""vote_id -> (sequence, leaf hash)."""


def count(market: Market, taken: Taken, superseded: Sequence[LogEntry] = ()) -> tuple[list[ev.VotesCounted], Places]:
    """The events that count these votes, one for each vote type, and where each of them stands in its log.

    `superseded` are the entries whose wallets have voted anew with this: their weight goes, their places stay.
    """
    events, places = list[ev.VotesCounted](), dict[str, tuple[int, bytes]]()
    for kind in VoteType:
        votes = sorted((each for each in taken if each.vote.vote_type is kind), key=lambda each: each.vote.vote_id)
        if not votes:
            continue
        leaves = tuple([leaf_of(entry_of(each.vote, each.accepted_at_ms, each.market_version)) for each in votes])
        numbered = enumerate(leaves, start=market.log(kind).size + 1)
        places.update(zip([each.vote.vote_id for each in votes], numbered, strict=True))
        gone = _tally((entry.choice, entry.weight) for entry in superseded if entry.vote_type is kind)
        counted = _tally((each.vote.choice, each.vote.weight) for each in votes)
        events.append(ev.VotesCounted(kind, counted.minus(gone) if superseded else counted, leaves))
    return events, places


def _tally(votes: Iterable[tuple[bool, int]]) -> Tally:
    weights: tuple[list[int], list[int]] = ([], [])
    for choice, weight in votes:
        weights[choice].append(weight)
    no, yes = weights
    return Tally(sum(yes), sum(no), len(yes), len(no))
