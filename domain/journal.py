"""What a market's owner hands to its journal, and what it gets back; plain values that storage and actors share."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from domain.commands import CastVote, RecordChainVote
from domain.deadlines import Deadline
from domain.feed import FeedMessage
from domain.ids import MarketId
from domain.intents import Intent
from domain.market import Market
from domain.tally import Tally, VoteType
from domain.votelog import LogEntry

Epochs = Mapping[int, int]
"""virtual shard -> the ownership epoch under which this process writes."""


class Fenced(Exception):
    """Another process owns one of the virtual shards now; nothing was written and this process must end."""

    def __init__(self, expected: Epochs, found: Epochs) -> None:
        super().__init__(f"epochs {dict(expected)} expected, {dict(found)} found")
        self.expected = dict(expected)
        self.found = dict(found)


@dataclass(frozen=True, slots=True)
class Ballot:
    """A vote on its way into `vote_records`, with the market version of the commit that takes it."""

    vote: CastVote
    market_version: int
    accepted_at_ms: int


@dataclass(frozen=True, slots=True)
class ChainBallot:
    """A vote that the chain shows, on its way into `vote_records`, or past it when it `is_late`."""

    vote: RecordChainVote
    market_version: int
    accepted_at_ms: int
    is_late: bool = False


@dataclass(frozen=True, slots=True)
class RecordedVote:
    """A vote that is stored, as far as a repeat or a second vote needs it."""

    entry: LogEntry
    request_id: str | None


@dataclass(frozen=True, slots=True)
class Standing:
    """What the log and the tally of a vote's type said right after the commit that took the vote."""

    tally: Tally
    sequence: int


@dataclass(frozen=True, slots=True)
class Merge:
    """What came of one chain ballot: a new entry, perhaps in the place of `superseded`, or nothing new."""

    is_new: bool
    superseded: LogEntry | None = None


@dataclass(frozen=True, slots=True)
class AggregationNote:
    """One row of `aggregation_results` to be written or moved on (T19); the id of an attempt is its intent's."""

    aggregation_id: str
    market_id: MarketId
    vote_type: VoteType
    status: str
    """pending, confirmed, failed or skipped."""
    tally: Tally
    """Exact, as counted here."""
    submitted: tuple[int, int] | None
    """The u32 pair that is sent (T7), None for what was skipped."""
    threshold_bps: int
    threshold_met: bool
    reason: str = ""
    votes_size: int | None = None
    """Entries of the vote type's log as counted, and their root in hex; later notes of an attempt say none."""
    votes_root: str | None = None
    is_synthetic: bool = False
    """Whether the pair is a vote that nobody cast (decisions P5)."""


@dataclass(frozen=True, slots=True)
class AlertNote:
    """Something people must know: one alert for each `dedupe_key` until it is resolved, counted up by what repeats it.

    Severities CRITICAL, HIGH, MEDIUM, LOW. Every type is described in docs/alerts.md, a test compares.
    """

    alert_type: str
    severity: str
    dedupe_key: str
    market_id: MarketId | None
    data: dict[str, str]


@dataclass(frozen=True, slots=True)
class Change:
    """Everything that one market's new version writes, in one transaction."""

    market: Market
    deadline: Deadline | None
    is_new: bool
    feed: tuple[FeedMessage, ...] = ()
    planned: tuple[Intent, ...] = ()
    applied: tuple[str, ...] = ()
    """Intent ids whose settlement this version has taken in."""
    aggregations: tuple[AggregationNote, ...] = ()
    alerts: tuple[AlertNote, ...] = ()
    before: Market | None = None
    """The version that this one replaces, where the writer has it: storage then writes only the columns that moved."""
