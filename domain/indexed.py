"""What was read of the program's history: transactions, their events, and what markets have yet to hear of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from domain.ids import MarketId, Wallet
from domain.tally import VoteType


class Finality(StrEnum):
    """How settled a transaction is: confirmed may still be dropped, the other two are for good."""

    CONFIRMED = "confirmed"
    FINALIZED = "finalized"
    DROPPED = "dropped"


@dataclass(frozen=True, slots=True)
class EventRecord:
    """One accepted event line; (signature, ordinal) names it, (slot, block_index, ordinal) orders it (T31, T32).

    `data` is JSON with 64-bit numbers as decimal text. `fault` says why the bytes are no event of ours, where they are
    none; `raw` has them all the same. `timestamp_s` is the event's own, else its block's (T48).
    """

    signature: str
    ordinal: int
    event_hash: str
    slot: int
    block_index: int | None
    block_time_s: int | None
    event_type: str
    market_id: MarketId | None
    wallet: Wallet | None
    data: Mapping[str, Any]
    raw: bytes
    fault: str | None
    timestamp_s: int
    finality: Finality


@dataclass(frozen=True, slots=True)
class ChainVoteSeen:
    """A vote that a transaction shows; what it was is read from its VoteRecord before it is counted."""

    signature: str
    wallet: Wallet
    vote_type: VoteType


@dataclass(frozen=True, slots=True)
class MarketEffect:
    """What one market's actor is to hear: to look at the account as of `slot` or later, or a vote."""

    market_id: MarketId
    slot: int
    vote: ChainVoteSeen | None = None
    """None: an observation of the account."""


@dataclass(frozen=True, slots=True)
class StoredEffect:
    """An effect in the table, taken for the `attempts`-th time."""

    effect_id: int
    effect: MarketEffect
    attempts: int


@dataclass(frozen=True, slots=True)
class PositionTouched:
    """A position that a transaction changed, as far as its accounts tell."""

    market_id: MarketId
    user: Wallet
    slot: int
    """That of the transaction."""


@dataclass(frozen=True, slots=True)
class IndexedTransaction:
    """A transaction of the program as it was read; `err` is None when it succeeded, and only then it has events.

    `is_incomplete`: its log was cut off, so its events are from its instructions, or `effects` and `positions` from the
    accounts that it names (CI 7.2, 3). `is_waiting`: more can be said of it once other transactions are written.
    """

    signature: str
    slot: int
    block_index: int | None
    block_time_s: int | None
    err: str | None
    finality: Finality
    source: str
    events: tuple[EventRecord, ...] = ()
    is_incomplete: bool = False
    is_waiting: bool = False
    effects: tuple[MarketEffect, ...] = ()
    positions: tuple[PositionTouched, ...] = ()


@dataclass(frozen=True, slots=True)
class InboxBody:
    """A body from the inbox, taken for the `attempts`-th time."""

    inbox_id: int
    source: str
    body: bytes
    attempts: int
    traceparent: str | None = None
    """The span that it came in, where calls are traced."""


@dataclass(frozen=True, slots=True)
class WantedTransaction:
    """A signature that is known of and not read yet."""

    signature: str
    slot: int | None
    source: str
    attempts: int = 0
    age_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Cursor:
    """Everything of the program at or below `slot` is read or wanted; `finalized_slot` is the chain's at that sweep."""

    slot: int
    signature: str | None
    finalized_slot: int


@dataclass(frozen=True, slots=True)
class ConfirmedTransaction:
    """A transaction that waits to be final."""

    signature: str
    slot: int


class Due(StrEnum):
    """What may wait to be worked off; the words are the columns of the statement `index_due`."""

    BODIES = "bodies"
    EFFECTS = "effects"
    SIGNATURES = "signatures"
    CONFIRMED = "confirmed"
    """Transactions that are not final yet."""
    POSITIONS = "positions"
    """Positions that an event has touched since they were read."""
    RUNS = "runs"
    """Runs of the reconciliation that were asked for."""


class LetterKind(StrEnum):
    """What was given up."""

    WEBHOOK = "webhook"
    TRANSACTION = "transaction"
    EFFECT = "effect"


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """Something given up, to be replayed by an operator; `body` is what `kind` needs for that."""

    letter_id: int
    kind: LetterKind
    body: bytes
    error: str
    created_at: str
    """RFC 3339."""
