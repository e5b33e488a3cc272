"""A batch of votes as the arguments of `take_votes`, the one statement that does everything if all of them are new."""

from collections.abc import Sequence
from typing import Any

from domain.journal import Ballot, Change, Epochs
from storage import codec, vote_rows
from storage.fencing import check_distinct, check_fenced

NOT_ALL_WENT_IN = ("ZM001", "23505")
"""SQLSTATEs of `take_votes`: a market has moved or the epochs are not ours (`all_or_nothing`); a ballot has one in its
way (unique_violation)."""


def arguments(
    epochs: Epochs, ballots: Sequence[Ballot], changes: Sequence[Change], *, announces: bool = False
) -> list[Any] | None:
    """What `take_votes` needs, or None for changes that are more than counts and what is told of them.

    Ballots go in by (wallet, request_id), as in `PostgresBallots.insert_ballots`.
    """
    check_fenced({ballot.vote.market_id for ballot in ballots} | {c.market.market_id for c in changes}, epochs)
    check_distinct(changes)
    feed = [codec.outbox_row(message) for change in changes for message in change.feed]
    if not ballots or not feed or not all(_only_counts(change) for change in changes):
        return None
    ordered = sorted(ballots, key=lambda ballot: (ballot.vote.wallet, ballot.vote.request_id or ""))
    return [
        *codec.columns([(str(vshard), str(epoch)) for vshard, epoch in epochs.items()]),
        len(epochs),
        *codec.columns([vote_rows.ballot_row(ballot) for ballot in ordered]),
        *codec.columns([codec.counts_row(change) for change in changes]),
        *codec.columns(feed),
        len(ballots),
        len(changes),
        announces,
    ]


def _only_counts(change: Change) -> bool:
    more = change.is_new or change.planned or change.applied or change.aggregations or change.alerts
    return not more and codec.moves_counts_only(change)
