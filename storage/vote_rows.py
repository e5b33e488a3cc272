"""Votes, kept ones and those on their way in, as rows and back; see `codec.py` for what both share."""

from domain.journal import Ballot, ChainBallot, RecordedVote
from domain.tally import VoteType
from domain.votelog import Aggregation, Fate, LogEntry, LoggedVote
from domain.votes import StoredVote
from storage.codec import Row


def ballot_row(ballot: Ballot) -> tuple[str | None, ...]:
    """The columns of `insert_ballots`, in its order."""
    vote = ballot.vote
    return (
        vote.vote_id,
        vote.market_id,
        vote.wallet,
        vote.vote_type.value,
        "true" if vote.choice else "false",
        str(vote.weight),
        vote.request_id,
        str(ballot.market_version),
        None if vote.weight_slot is None else str(vote.weight_slot),
        str(ballot.accepted_at_ms),
        vote.wallet_signature,
    )


def chain_ballot_row(ballot: ChainBallot) -> tuple[str | None, ...]:
    """The columns of `keep_late`, in its order."""
    vote = ballot.vote
    return (
        vote.vote_id,
        vote.market_id,
        vote.wallet,
        vote.vote_type.value,
        "true" if vote.choice else "false",
        str(vote.weight),
        vote.transaction_signature,
        str(ballot.market_version),
        None if vote.weight_slot is None else str(vote.weight_slot),
        str(ballot.accepted_at_ms),
    )


def supersede_row(ballot: ChainBallot) -> tuple[str, ...]:
    """The columns of `supersede_votes`, in its order."""
    vote = ballot.vote
    return vote.vote_id, vote.market_id, vote.wallet, vote.vote_type.value, str(ballot.market_version)


def stored_vote_of(row: Row) -> StoredVote:
    """The vote in a row of `list_votes`."""
    return StoredVote(
        vote_id=row["vote_id"],
        market_id=row["market_id"],
        wallet=row["user_pubkey"],
        vote_type=VoteType(row["vote_type"]),
        choice=row["vote"],
        weight=row["weight"],
        weight_slot=row["weight_slot"],
        source=row["source"],
        transaction_signature=row["tx_signature"],
        market_version=row["market_version"],
        created_at=row["created_at"],
    )


def recorded_of(row: Row) -> RecordedVote:
    """The vote in a row of `recorded_votes`."""
    return RecordedVote(entry_of(row), row["request_id"])


def entry_of(row: Row) -> LogEntry:
    """The vote in a row with `vote_columns`."""
    return LogEntry(
        market_id=row["market_id"],
        vote_type=VoteType(row["vote_type"]),
        wallet=row["user_pubkey"],
        choice=row["vote"],
        weight=row["weight"],
        weight_slot=row["weight_slot"],
        source=row["source"],
        transaction_signature=row["tx_signature"],
        vote_id=row["vote_id"],
        accepted_at_ms=row["accepted_at_ms"],
        market_version=row["market_version"],
        wallet_signature=row["wallet_signature"],
    )


def logged_of(row: Row) -> LoggedVote:
    """The vote in a row with `vote_columns`, `fate` and `superseded_by`."""
    return LoggedVote(entry_of(row), Fate(row["fate"]), row["superseded_by"])


def aggregation_of(row: Row) -> Aggregation:
    """The aggregation in a row with `aggregation_columns`."""
    return Aggregation(**{**row, "vote_type": VoteType(row["vote_type"])})
