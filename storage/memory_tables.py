"""What the in-memory twins keep instead of PostgreSQL: the same tables, and what outlives a session."""

import asyncio
from collections import ChainMap
from collections.abc import Callable, MutableMapping, Sequence
from dataclasses import dataclass, field, fields, replace

from domain.deadlines import Deadline
from domain.feed import FeedMessage
from domain.ids import MarketId, Wallet
from domain.intents import Intent, IntentStatus
from domain.journal import AggregationNote, AlertNote, Ballot, ChainBallot
from domain.market import Market
from domain.observed import ChainConfig, ObservedMarket
from domain.shards import ShardBeat
from domain.tally import VoteType
from storage.outside import Outside


@dataclass(frozen=True, slots=True)
class Owner:
    """A row of `virtual_shards`."""

    epoch: int = 0
    host: str | None = None
    port: int | None = None
    pid: int | None = None


@dataclass(frozen=True, slots=True)
class Attempt:
    """A row of `chain_transactions`; `settled` numbers the ends in their order."""

    intent: Intent
    status: IntentStatus = IntentStatus.PLANNED
    raw: bytes | None = None
    signature: str | None = None
    blockhash: str | None = None
    last_valid_block_height: int | None = None
    slot: int | None = None
    error_name: str | None = None
    observed: ObservedMarket | None = None
    fee_lamports: int = 0
    settled: int | None = None
    applied: bool = False
    planned_at_s: float = 0.0


@dataclass(frozen=True, slots=True)
class AggregationRow:
    """A row of `aggregation_results`."""

    note: AggregationNote
    signature: str | None = None


@dataclass(slots=True)
class Tables:
    """What transactions write, by primary key."""

    markets: MutableMapping[MarketId, tuple[Market, Deadline | None]] = field(default_factory=dict)
    votes: MutableMapping[str, Ballot | ChainBallot] = field(default_factory=dict)
    """Every entry of the logs, superseded ones included."""
    places: MutableMapping[tuple[MarketId, Wallet, VoteType], str] = field(default_factory=dict)
    """Which vote_id counts."""
    superseded: MutableMapping[str, ChainBallot] = field(default_factory=dict)
    """What came in the place of a vote_id."""
    late: MutableMapping[str, ChainBallot] = field(default_factory=dict)
    requests: MutableMapping[tuple[Wallet, str], str] = field(default_factory=dict)
    outbox: MutableMapping[tuple[str, int], FeedMessage] = field(default_factory=dict)
    attempts: MutableMapping[str, Attempt] = field(default_factory=dict)
    aggregations: MutableMapping[str, AggregationRow] = field(default_factory=dict)
    alerts: MutableMapping[str, AlertNote] = field(default_factory=dict)

    def raise_alert(self, note: AlertNote) -> None:
        """Store an alert, or show the newest facts of the one under the same key; nobody resolves any here."""
        self.alerts[note.dedupe_key] = replace(self.alerts.get(note.dedupe_key, note), data=note.data)

    def overlaid(self) -> "Tables":
        """The same tables with writes kept apart."""
        return Tables(**{table.name: ChainMap({}, getattr(self, table.name)) for table in fields(self)})

    def take_in(self, overlay: "Tables") -> None:
        """Commit the writes of an overlay."""
        for table in fields(self):
            getattr(self, table.name).update(getattr(overlay, table.name).maps[0])


class MemorySession:
    """A session that may hold locks; `lost` once it has ended."""

    def __init__(self) -> None:
        self.lost = False
        self.outside = Outside()


class MemoryDatabase:
    """Everything that outlives a session; `now_s` is the database's own clock, which stands still without one."""

    def __init__(self, now_s: Callable[[], float] = lambda: 0.0) -> None:
        self.now_s = now_s
        self.tables = Tables()
        self.owners: dict[int, Owner] = {}
        self.locks: dict[int, MemorySession] = {}
        self.config: ChainConfig | None = None
        self.beats: dict[str, ShardBeat] = {}
        self.announcements = 0
        self.settled = 0
        self.writing = asyncio.Lock()
        self.listeners: list[Outside] = []

    def epochs(self, virtual_shards: Sequence[int]) -> dict[int, int]:
        """The epochs as they stand."""
        return {vshard: self.owners[vshard].epoch for vshard in virtual_shards if vshard in self.owners}

    def announce_changed(self, market_id: MarketId, *, votes: bool) -> None:
        """What the trigger says of a write that is not an actor's."""
        for listener in self.listeners:
            listener.note(market_id, votes=votes)

    def end_session(self, session: MemorySession) -> None:
        """Free what a session holds, as PostgreSQL does when a backend ends."""
        session.lost = True
        self.listeners = [listener for listener in self.listeners if listener is not session.outside]
        self.locks = {vshard: holder for vshard, holder in self.locks.items() if holder is not session}
