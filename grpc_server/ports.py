"""What the server needs of its neighbours, in domain words; `app/wiring.py` joins them to the real parts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from domain.alerts import AlertStatus, Severity, StoredAlert
from domain.commands import Command
from domain.connections import BridgeWord
from domain.deadlines import Deadline
from domain.discrepancies import DiscrepancyPlace, RunResult, StoredDiscrepancy
from domain.event_listing import EventFilter, EventMatch, EventPlace, IndexedEvent
from domain.feed import FeedNews
from domain.ids import MarketId, Wallet
from domain.intents import IntentStatus
from domain.journal import AlertNote
from domain.lifecycle import Lifecycle
from domain.market import Market
from domain.observed import ChainConfig, ObservedMarket, ObservedPosition
from domain.outcomes import Outcome
from domain.refusals import MarketNotFound
from domain.shards import OwnedShard, ShardProcess
from domain.standing import ActorStanding
from domain.tally import VoteType
from domain.transactions import ListedTransaction, TransactionFilter, TransactionPlace
from domain.votelog import Aggregation, LoggedVote
from domain.votes import StoredVote


class Outage(Exception):
    """Something we depend on did not do its part; never a refusal and never the caller's fault.

    `retry_after_s` is how long nobody will be asked again, None where nobody knows.
    """

    retry_after_s: float | None = None


class OutcomeUnknown(Outage):
    """A command was sent and not answered in time: it may have been carried out, and is safe to repeat."""

    def __init__(self, waited_s: float) -> None:
        super().__init__(f"no answer within {waited_s} s")
        self.waited_s = waited_s


class ShardUnavailable(Outage):
    """Nobody could take the command; nothing was done. `why` is a sentence for the log."""

    def __init__(self, why: str) -> None:
        super().__init__(why)
        self.why = why


class MarketFailed(Outage):
    """The market's actor met a bug of ours and was rebuilt; nothing was done. `incident` is in the log."""

    def __init__(self, incident: str) -> None:
        super().__init__(f"incident {incident}")
        self.incident = incident


class AccountsUnavailable(Outage):
    """The chain could not be read. `why` is a sentence for the log."""

    def __init__(self, why: str, retry_after_s: float | None = None) -> None:
        super().__init__(why)
        self.why = why
        self.retry_after_s = retry_after_s


class BookUnavailable(Outage):
    """The database could not be read. `why` is a sentence for the log."""

    def __init__(self, why: str, retry_after_s: float | None = None) -> None:
        super().__init__(why)
        self.why = why
        self.retry_after_s = retry_after_s


class ReconciliationUnanswered(Outage):
    """The indexer did not finish a comparison in time; it may still. `why` is a sentence for the log."""

    def __init__(self, why: str) -> None:
        super().__init__(why)
        self.why = why


class InboxUnavailable(Outage):
    """A body could not be stored, or nobody knows whether it was. `why` is a sentence for the log."""

    def __init__(self, why: str, retry_after_s: float | None = None) -> None:
        super().__init__(why)
        self.why = why
        self.retry_after_s = retry_after_s


class WebhookInbox(Protocol):
    """Where bodies wait for the indexer. Every call raises `InboxUnavailable`."""

    async def put(self, body: bytes) -> int:
        """Commit a body, and return its number."""
        ...

    async def keep_sample(self, body: bytes, why: str) -> None:
        """Keep the beginning of a body that is refused, as one of a bounded number."""
        ...


class CommandRouter(Protocol):
    """The way to the markets' actors."""

    async def submit(self, command: Command) -> Outcome:
        """Carry out a command and answer after its commit, within a bound.

        Raises `OutcomeUnknown`, `ShardUnavailable` or `MarketFailed`.
        """
        ...

    async def submit_many(self, commands: Sequence[Command]) -> Sequence[Outcome | Outage]:
        """The same for many at once, each with an outcome or an outage of its own, in order; raises none of them."""
        ...


class Positions(Protocol):
    """What wallets hold of a market, as the chain has it."""

    async def position(self, market_id: MarketId, wallet: Wallet, min_slot: int) -> ObservedPosition | None:
        """Read the wallet's position as of `min_slot` or later, None when it has none. Raises `AccountsUnavailable`."""
        ...


class MarketAccounts(Protocol):
    """Markets as the chain has them."""

    async def market(self, market_id: MarketId) -> ObservedMarket | None:
        """Read the market's account by its PDA, None when there is none. Raises `AccountsUnavailable`."""
        ...


class Position(NamedTuple):
    """The last market of a page: lists are sorted by creation, newest first, then by descending market_id."""

    created_at_s: int
    market_id: MarketId


class VotePlace(NamedTuple):
    """The last vote of a page: votes of a market are sorted by its versions, newest first, then by descending id."""

    market_version: int
    vote_id: str


class VoteBook(Protocol):
    """Votes as they were last committed."""

    async def list(
        self, market_id: MarketId, vote_type: VoteType | None, after: tuple[int, str] | None, limit: int
    ) -> Sequence[StoredVote]:
        """Up to `limit` votes right after a `VotePlace`, of one type or of both. Raises `BookUnavailable`."""
        ...


class AggregationBook(Protocol):
    """Aggregations as they are recorded."""

    async def list(
        self, market_id: MarketId | None, status: str | None, before: int | None, limit: int
    ) -> Sequence[Aggregation]:
        """Up to `limit` aggregations with a smaller number than `before`, newest first. Raises `BookUnavailable`."""
        ...


class VoteLog(Protocol):
    """The logs of votes as they were last committed. Every call raises `BookUnavailable`."""

    async def entries(
        self, market_id: MarketId, vote_type: VoteType, after: tuple[int, str] | None, limit: int, as_of: int
    ) -> Sequence[LoggedVote]:
        """Up to `limit` entries right after a `VotePlace`, oldest first, as the market's version `as_of` had them."""
        ...

    async def late(
        self, market_id: MarketId, vote_type: VoteType, after: tuple[int, str] | None, limit: int
    ) -> Sequence[LoggedVote]:
        """Up to `limit` votes right after a `VotePlace` that were seen too late for the log, oldest first."""
        ...

    async def find(self, market_id: MarketId, vote_id: str) -> LoggedVote | None:
        """A vote of this market by its id, whatever became of it."""
        ...

    async def of_wallet(self, market_id: MarketId, vote_type: VoteType, wallet: Wallet) -> LoggedVote | None:
        """The vote of a wallet that counts."""
        ...

    async def aggregations(self, market_id: MarketId, after: int, limit: int) -> Sequence[Aggregation]:
        """Up to `limit` aggregations with a number above `after`, oldest first."""
        ...

    async def covering(
        self, market_id: MarketId, vote_type: VoteType, sequence: int, aggregation_id: str | None
    ) -> Aggregation | None:
        """The newest aggregation with a root over the entry at `sequence`, or the one of that id if it has one."""
        ...


@dataclass(frozen=True, slots=True)
class Attempt:
    """Where an attempt at an instruction stands; signature and error's name are empty until there is one."""

    intent_id: str
    status: IntentStatus
    signature: str
    error_name: str


class AttemptBook(Protocol):
    """Attempts as they were last committed."""

    async def attempt(self, intent_id: str) -> Attempt | None:
        """One by its id, None for one that was never planned. Raises `BookUnavailable`."""
        ...


class Alarm(Protocol):
    """The way to people."""

    async def raise_alert(self, note: AlertNote) -> None:
        """Store an alert; one under the same key that is not resolved counts up. Raises `BookUnavailable`."""
        ...


class MarketBook(Protocol):
    """Markets as they were last committed. Every call raises `BookUnavailable`."""

    async def get(self, market_id: MarketId) -> tuple[Market, Deadline | None] | None:
        """One market with its next deadline, None when it is not known here."""
        ...

    async def list(
        self, state: Lifecycle | None, after: tuple[int, MarketId] | None, limit: int
    ) -> Sequence[tuple[Market, Deadline | None]]:
        """Up to `limit` markets right after a `Position`, newest first, of one state or of all."""
        ...

    async def config(self) -> ChainConfig | None:
        """The last GlobalConfig that was read, None before the first."""
        ...


class EventBook(Protocol):
    """Events as they were last committed, without those whose slot was dropped. Every call raises `BookUnavailable`."""

    async def list(
        self, wanted: EventFilter, after: EventPlace | None, limit: int, offset: int
    ) -> Sequence[IndexedEvent]:
        """Up to `limit` events right after a place, newest first, of which the first `offset` are skipped."""
        ...

    async def count(self, wanted: EventFilter) -> int:
        """How many there are; with a range of time, counted no further than 10,001."""
        ...

    async def search(self, match: EventMatch, after: EventPlace | None, limit: int) -> Sequence[IndexedEvent]:
        """Up to `limit` events right after a place, newest first, whose market, signature or type fits."""
        ...

    async def count_found(self, match: EventMatch) -> int:
        """How many fit."""
        ...


class AlertBook(Protocol):
    """Alerts as they were last committed; `now_s` is Unix seconds. Every call raises `BookUnavailable`."""

    async def list(
        self,
        severity: Severity | None,
        status: AlertStatus | None,
        market_id: MarketId | None,
        before: int | None,
        limit: int,
    ) -> Sequence[StoredAlert]:
        """Up to `limit` alerts older than number `before`, newest first, of one severity, status and market or all."""
        ...

    async def acknowledge(self, alert_id: str, now_s: float) -> StoredAlert | None:
        """Take note of it; the first time stands. None for an id that is not known."""
        ...

    async def resolve(self, alert_id: str, now_s: float) -> StoredAlert | None:
        """It is over; the first time stands. None for an id that is not known."""
        ...


class OperatorBook(Protocol):
    """What operators look at. Every call raises `BookUnavailable`."""

    async def standing(self, market_id: MarketId) -> ActorStanding | MarketNotFound:
        """How the market's actor stands, from itself. Raises `OutcomeUnknown`, `ShardUnavailable` or `MarketFailed`."""
        ...

    async def virtual_shards(self) -> Sequence[OwnedShard]:
        """Every virtual shard, by number."""
        ...

    async def shard_processes(self) -> Sequence[ShardProcess]:
        """The last word of every place, by its name."""
        ...

    async def transactions(
        self, wanted: TransactionFilter, after: TransactionPlace | None, limit: int
    ) -> Sequence[ListedTransaction]:
        """Up to `limit` transactions right after a place, newest first."""
        ...


class BridgeDesk(Protocol):
    """The way to the WebSocket bridges. Every call raises `BookUnavailable`."""

    async def order(self, is_kick: bool, wallet: str, limit: int, reason: str, asked_by: str) -> str:
        """Ask every bridge for a wallet's connections (empty: all), or to close them; the order's id."""
        ...

    async def words(self, order_id: str) -> Sequence[BridgeWord]:
        """Every bridge that lives or has answered."""
        ...


class MarketFeed(Protocol):
    """What markets have told, as committed. Every call raises `BookUnavailable`."""

    async def now(self, market_id: MarketId) -> tuple[str, Market, Deadline | None] | None:
        """The stored history's name, and a market that has told `market_seq` changes of it; None: not known here."""
        ...

    async def since(self, seqs: Mapping[MarketId, int], limit_each: int) -> FeedNews:
        """What each market (at least one) told after its number, in order, up to `limit_each` changes of each."""
        ...

    async def wait(self, timeout_s: float) -> None:
        """Return when there may be changes, or after `timeout_s`; a hint, and safe to cancel."""
        ...


class ReconciliationDesk(Protocol):
    """The way to the indexer's comparison of database and chain. Every call raises `BookUnavailable`."""

    async def list(
        self, market_id: MarketId | None, after: DiscrepancyPlace | None, limit: int
    ) -> Sequence[StoredDiscrepancy]:
        """Up to `limit` discrepancies right after a place, newest first, of one market or of all."""
        ...

    async def ask(self, market_id: MarketId | None) -> str:
        """Ask for a run over one market or all; its id."""
        ...

    async def result(self, run_id: str) -> RunResult | None:
        """How a run ended, None while it has not."""
        ...
