"""What the bridge and its notifier need of their neighbours; `app/wiring.py` joins them to the real parts.

Row shapes are Protocols with read-only members, so that storage can hand over its own types unaware of this package.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple, Protocol

from domain.feed import told_at


class OutboxRow(Protocol):
    """One numbered message as it was committed together with the state it tells of (decisions F1)."""

    @property
    def id(self) -> int:
        """Its place in the outbox."""
        ...

    @property
    def channel(self) -> str:
        """Canonical name: `market_{id}` or `votes_{id}`."""
        ...

    @property
    def seq(self) -> int:
        """Gapless per channel and epoch."""
        ...

    @property
    def type(self) -> str:
        """VOTE_UPDATE, STATE_CHANGED, ..."""
        ...

    @property
    def payload_json(self) -> str:
        """Its payload as JSON text; weights as decimal strings (T6)."""
        ...

    @property
    def created_at(self) -> datetime:
        """When it was committed, with a time zone."""
        ...

    @property
    def epoch(self) -> str:
        """Names the stored history; changes only when history was lost or restored."""
        ...

    @property
    def votes_seq(self) -> int | None:
        """Its number in the market's votes channel, if it is told there as well."""
        ...


class Outbox(Protocol):
    """The ordered messages of committed changes. Every method raises OSError while the database is out of reach."""

    async def unpublished(self, limit: int) -> Sequence[OutboxRow]:
        """The oldest rows not yet marked, in id order within a channel."""
        ...

    async def mark_published(self, ids: Sequence[int]) -> None:
        """These rows are in the stream."""
        ...

    async def wait(self, timeout_s: float) -> None:
        """Return when there may be new rows, or after `timeout_s`; a hint, and safe to cancel."""
        ...


class Snapshot(Protocol):
    """The state of one channel and the position it belongs to, from one read of one row."""

    @property
    def epoch(self) -> str:
        """Names the stored history."""
        ...

    @property
    def seq(self) -> int:
        """The last numbered message this state contains."""
        ...

    @property
    def payload(self) -> Mapping[str, Any]:
        """JSON values."""
        ...


class Snapshots(Protocol):
    """Reads the present state of a channel from the primary database, never from a replica or a cache."""

    async def snapshot(self, channel: str) -> Snapshot | None:
        """The state now, or None for a market nobody knows; raises OSError while the database is out of reach."""
        ...


class Progress(Protocol):
    """Reads how open votes stand."""

    async def progress(self, channels: Sequence[str]) -> Mapping[str, Snapshot]:
        """By `votes_` channel, those whose vote is open; raises OSError while the database is out of reach."""
        ...


class Caller(Protocol):
    """Who a verified token speaks for."""

    @property
    def wallet(self) -> str:
        """Base58 text of the wallet."""
        ...

    @property
    def expires_at_s(self) -> int:
        """Unix seconds after which the token is worth nothing."""
        ...


class Tokens(Protocol):
    """Knows the tokens that sign-in has issued."""

    def verify(self, token: str) -> Caller:
        """The wallet behind a token; raises a ValueError for one that is forged, expired or not a token at all."""
        ...


class FeedEntry(NamedTuple):
    """One numbered message as it comes from the stream; a tuple, for one is made for each vote and few are told."""

    channel: str
    epoch: str
    seq: int
    type: str
    timestamp: str
    payload_json: str
    """The text of a JSON object."""
    votes_seq: int | None = None
    """Its number in the market's votes channel, if it is told there as well."""

    @property
    def places(self) -> tuple[tuple[str, int], ...]:
        """Channel and number wherever it is told."""
        return told_at(self.channel, self.seq, self.votes_seq)


@dataclass(frozen=True, slots=True)
class Batch:
    """What one read of the feed brought.

    With `history_lost` messages may be missing before `entries`: every subscriber needs a snapshot that is read after
    this batch arrived.
    """

    entries: tuple[FeedEntry, ...] = ()
    history_lost: bool = False
    published_by: tuple[str, ...] = ()
    """The `traceparent`s of the spans that the entries were published in, where somebody asks."""


class Feed(Protocol):
    """The ordered log of numbered messages, read from now on by one bridge."""

    @property
    def connected(self) -> bool:
        """Whether the last exchange with the log succeeded."""
        ...

    async def open(self) -> Sequence[FeedEntry]:
        """Take the start position and return the newest entries before it, in order.

        Without the log it returns none all the same, and the first batch says `history_lost`.
        """
        ...

    async def next_batch(self) -> Batch:
        """The next entries in order, possibly none; waits out an unreachable log with backoff, never raises for it."""
        ...

    async def close(self) -> None:
        """Give the connections back."""
        ...


class Spans(Protocol):
    """Makes spans, where somebody wants traces."""

    def work(
        self, name: str, attributes: Mapping[str, str | int], asked_by: Sequence[str] = ()
    ) -> AbstractContextManager[None]:
        """A span around a piece of work that no call waits inside of; `asked_by` are the `traceparent`s it is for."""
        ...

    def traceparent(self) -> str | None:
        """The span that is open, None where nobody records it."""
        ...


class Unspanned:
    """Where nothing is traced."""

    def work(
        self,
        name: str,  # noqa: ARG002 - it keeps the signature of what it stands for
        attributes: Mapping[str, str | int],  # noqa: ARG002
        asked_by: Sequence[str] = (),  # noqa: ARG002
    ) -> AbstractContextManager[None]:
        """Nothing around it."""
        return nullcontext()

    def traceparent(self) -> str | None:
        """Nobody's."""
        return None
