"""The log of votes: what one entry says, and the bytes of it that are hashed.

A market has one log for each vote type. An entry is a vote that was accepted, from the API or from the chain; a chain
vote of a wallet that had voted through the API is a new entry, and the tally is that of each wallet's last entry (P4).
Entries stand in the order of (market_version, vote_id); `sequence` is the place in it, from 1.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from datetime import datetime

from domain import merkle
from domain.commands import CastVote, RecordChainVote
from domain.ids import MarketId, Wallet
from domain.tally import VoteType, word_of

FORMAT = "zmart.vote.v1"
API, CHAIN = "api", "chain"
ABSENT = "-"


@dataclass(frozen=True, slots=True)
class LogEntry:
    """One accepted vote with everything that its leaf says."""

    market_id: MarketId
    vote_type: VoteType
    wallet: Wallet
    choice: bool
    weight: int
    weight_slot: int | None
    source: str
    transaction_signature: str | None
    vote_id: str
    """A UUID in lower case."""
    accepted_at_ms: int
    """Unix milliseconds of the clock of whoever took it."""
    market_version: int
    wallet_signature: str | None

    @property
    def place(self) -> tuple[int, str]:
        """Where it stands among the entries of its log."""
        return self.market_version, self.vote_id


def entry_of(vote: CastVote | RecordChainVote, accepted_at_ms: int, market_version: int) -> LogEntry:
    """The entry that a vote becomes when this version of the market takes it."""
    source, transaction_signature, wallet_signature = (
        (CHAIN, vote.transaction_signature, None)
        if isinstance(vote, RecordChainVote)
        else (API, None, vote.wallet_signature)
    )
    return LogEntry(
        market_id=vote.market_id,
        vote_type=vote.vote_type,
        wallet=vote.wallet,
        choice=vote.choice,
        weight=vote.weight,
        weight_slot=vote.weight_slot,
        source=source,
        transaction_signature=transaction_signature,
        vote_id=vote.vote_id,
        accepted_at_ms=accepted_at_ms,
        market_version=market_version,
        wallet_signature=wallet_signature,
    )


def leaf_bytes(entry: LogEntry) -> bytes:
    """The 13 lines that are hashed: UTF-8, one LF between two, none at the end, `-` for what is absent."""
    facts = (entry.accepted_at_ms, entry.market_version)
    return _lines(entry, entry.source, entry.transaction_signature, entry.wallet_signature, *facts)


def leaf_of(entry: LogEntry) -> bytes:
    """The hash under which the entry stands in its log."""
    return merkle.leaf_hash(leaf_bytes(entry))


def leaf_of_vote(vote: CastVote | RecordChainVote, accepted_at_ms: int, market_version: int) -> bytes:
    """`leaf_of(entry_of(...))` at half the cost: 1.4 us instead of 3.0, and every vote pays it."""
    if isinstance(vote, CastVote):
        lines = _lines(vote, API, None, vote.wallet_signature, accepted_at_ms, market_version)
    else:
        lines = _lines(vote, CHAIN, vote.transaction_signature, None, accepted_at_ms, market_version)
    return merkle.leaf_hash(lines)


def _lines(
    vote: LogEntry | CastVote | RecordChainVote,
    source: str,
    transaction_signature: str | None,
    wallet_signature: str | None,
    accepted_at_ms: int,
    market_version: int,
) -> bytes:
    word = word_of(vote.vote_type, vote.choice)
    weight_slot = ABSENT if vote.weight_slot is None else vote.weight_slot
    return (
        f"{FORMAT}\n{vote.market_id}\n{vote.vote_type}\n{vote.wallet}\n{word}\n{vote.weight}\n{weight_slot}\n{source}\n"
        f"{transaction_signature or ABSENT}\n{vote.vote_id}\n{accepted_at_ms}\n{market_version}\n"
        f"{wallet_signature or ABSENT}"
    ).encode()


class Fate(enum.StrEnum):
    """What became of a vote that is kept: it counts, a vote on chain took its place, or it was seen too late."""

    COUNTED = "counted"
    SUPERSEDED = "superseded"
    LATE = "late"


@dataclass(frozen=True, slots=True)
class LoggedVote:
    """A vote as it is kept, read back; late ones are no entries of the log."""

    entry: LogEntry
    fate: Fate
    superseded_by: str | None = None
    """The vote_id of the chain vote that counts instead."""


AGGREGATION_STATUSES = ("pending", "submitted", "confirmed", "failed", "skipped")


@dataclass(frozen=True, slots=True)
class Aggregation:
    """One attempt to bring a tally to the chain, as it is stored; `votes_size` None is older than the log."""

    number: int
    """Grows with the attempts, over all markets."""
    aggregation_id: str
    market_id: MarketId
    vote_type: VoteType
    votes_size: int | None
    votes_root: str | None
    yes_votes: int
    no_votes: int
    submitted_yes: int | None
    """The pair that was sent, None for what was skipped."""
    submitted_no: int | None
    percentage_bps: int
    threshold_bps: int
    threshold_met: bool
    status: str
    reason: str
    transaction_signature: str | None
    created_at: datetime

    @property
    def is_synthetic(self) -> bool:
        """Whether a pair was sent that nobody voted for: a dispute without votes is upheld (decisions P5)."""
        return self.yes_votes + self.no_votes == 0 and (self.submitted_yes or 0) + (self.submitted_no or 0) > 0
