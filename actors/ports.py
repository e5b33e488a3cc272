"""What the actors need of their neighbours, in domain words; `app/wiring.py` joins them to the real parts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from typing import Protocol

from domain.commands import CastVote, RecordChainVote
from domain.deadlines import Deadline
from domain.ids import MarketId
from domain.intents import Intent, Settlement
from domain.journal import (
    AggregationNote,
    AlertNote,
    Ballot,
    ChainBallot,
    Change,
    Epochs,
    Fenced,
    Merge,
    RecordedVote,
    Standing,
)
from domain.market import Market
from domain.observed import ChainConfig
from domain.shards import ShardBeat
from domain.tally import Tally, VoteType
from domain.votelog import LogEntry

__all__ = [
    "AggregationNote",
    "AlertNote",
    "Ballot",
    "ChainBallot",
    "Change",
    "Epochs",
    "Fenced",
    "Journal",
    "JournalTransaction",
    "Merge",
    "RecordedVote",
    "Spans",
    "Standing",
]


class JournalTransaction(Protocol):
    """One open transaction, already fenced."""

    async def insert_ballots(self, ballots: Sequence[Ballot]) -> frozenset[str]:
        """Insert what is new and return the vote_ids that went in; the others were voted or requested before."""
        ...

    async def recorded(self, votes: Sequence[CastVote]) -> Mapping[str, RecordedVote]:
        """For each given vote (key: its vote_id) the stored vote in its way.

        Before one with the same (market, wallet, vote type) comes one with the same (wallet, request_id), and before
        that one of these that a chain vote has superseded since.
        """
        ...

    async def standings(self, entries: Sequence[LogEntry]) -> Sequence[Standing]:
        """For each stored entry its sequence, and the tally of its type as its market version left it, in order."""
        ...

    async def merge(self, ballots: Sequence[ChainBallot]) -> Mapping[str, Merge]:
        """Take in what is new, move the API votes in its place aside, and say of each vote_id what came of it.

        A late ballot is only kept. One that is stored already changes nothing, nor does a second of the same place.
        """
        ...

    async def known_chain_votes(self, votes: Sequence[RecordChainVote]) -> frozenset[str]:
        """Those of the vote_ids that are kept as late, or in whose place a chain vote counts."""
        ...

    async def save(self, changes: Sequence[Change]) -> None:
        """Write new market versions, outbox rows, intents, notes and alerts.

        Raises `Fenced` when a market row does not stand at `market.version - 1`: somebody else wrote it.
        """
        ...


class Journal(Protocol):
    """The one connection of a shard: it holds the locks and it commits (architecture section 2)."""

    async def acquire(self, virtual_shards: Sequence[int], host: str, port: int, pid: int) -> dict[int, int]:
        """Lock the virtual shards for this process and return their new epochs; waits for a dying holder, bounded."""
        ...

    def transaction(self, epochs: Epochs) -> AbstractAsyncContextManager[JournalTransaction]:
        """Open a transaction that sees every epoch unchanged, else `Fenced`; leaving commits, an exception undoes."""
        ...

    async def take(
        self, epochs: Epochs, ballots: Sequence[Ballot], changes: Sequence[Change], *, announces: bool = False
    ) -> bool:
        """In one transaction: see every epoch unchanged, insert all ballots, save the changes that count them.

        `announces`: its commit does what `announce_outbox` does.
        False, and nothing is written, when any of it cannot be so: `transaction` goes step by step and says why.
        """
        ...

    async def load(self, market_ids: Sequence[MarketId]) -> Sequence[tuple[Market, Deadline | None]]:
        """Those of the markets that exist, each with its stored deadline."""
        ...

    async def deadlines(self, virtual_shards: Sequence[int]) -> Sequence[tuple[MarketId, Deadline]]:
        """Every stored deadline of these virtual shards."""
        ...

    async def windowed(self, virtual_shards: Sequence[int]) -> Sequence[MarketId]:
        """Markets of these virtual shards that end by the clock (RESOLVING, DISPUTED)."""
        ...

    async def settlements(self, virtual_shards: Sequence[int], limit: int) -> Sequence[Settlement]:
        """Ended attempts that no market has taken in yet, oldest first."""
        ...

    async def attempts(self, intent_ids: Sequence[str]) -> Mapping[str, Intent]:
        """Those of the intents that were ever planned, by their id."""
        ...

    def changed_outside(self) -> Mapping[MarketId, bool]:
        """Markets that somebody else wrote since the last call, and of each whether its votes were; of all shards."""
        ...

    async def recount(self, market_ids: Sequence[MarketId]) -> Mapping[tuple[MarketId, VoteType], Tally]:
        """What the stored votes of these markets add up to; nothing for a type without votes."""
        ...

    async def config(self) -> ChainConfig | None:
        """The last GlobalConfig that was read, or None before the first."""
        ...

    async def announce_outbox(self) -> None:
        """Wake the notifier; a hint, sent after the commit and after the callers were answered."""
        ...

    async def raise_alerts(self, notes: Sequence[AlertNote]) -> None:
        """Store alerts that no change of a market tells of, each once until it is resolved; nothing for none."""
        ...

    async def beat(self, beat: ShardBeat) -> None:
        """Keep what this process says of itself; nothing once another one owns its shards. Raises like `ping`."""
        ...

    async def ping(self) -> None:
        """One round trip; raises when the session is gone."""
        ...

    async def close(self) -> None:
        """End the session, which frees the locks."""
        ...


class Spans(Protocol):
    """Makes spans, where somebody wants traces; without it nothing is asked or made."""

    def work(
        self, name: str, attributes: Mapping[str, str | int], asked_by: Sequence[str] = ()
    ) -> AbstractContextManager[None]:
        """A span around a piece of work that no call waits inside of; `asked_by` are the `traceparent`s it is for."""
        ...
