"""How the gRPC server is joined: actors as its router, the chain as its accounts, PostgreSQL as its book."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING

import uuid_utils
from solders.pubkey import Pubkey

from actors import hardening
from app import clock
from app.breakers import Breakers
from app.config import Settings
from app.embedded.loopback import kept_secret
from app.identities import challenges, doorkeeper, receipts, refreshes, webhook_secrets
from app.retold import retold
from app.roles_actors import harden
from app.sessions import Revocations
from app.wiring import database_url, redis_url, tracing_of
from app.wiring_alert_book import Alerts
from app.wiring_attempts import Attempts
from app.wiring_audit import AlertStore, VoteLogs, verifies_strictly
from app.wiring_bridges import BridgeRows
from app.wiring_chain import chain_reader, rpc_pool
from app.wiring_events import EVENT_TYPES, Events, IndexedPositions, ReconciliationRows
from app.wiring_health import Probed
from app.wiring_limits import call_limits
from app.wiring_operators import OperatorDesk
from app.wiring_tallies import TallyWatch
from app.wiring_watch import MarketChanges
from chain.client import ChainReader
from chain.endpoints import NoEndpoint
from chain.program import UndecodableAccount
from chain.rpc import ChainUnavailable
from domain.commands import Command
from domain.deadlines import Deadline
from domain.ids import VIRTUAL_SHARDS, MarketId, Wallet
from domain.lifecycle import Lifecycle
from domain.market import Market
from domain.observed import ChainConfig, ObservedMarket, ObservedPosition
from domain.outcomes import Outcome
from domain.refusals import MarketNotFound
from domain.standing import ActorStanding, AskStanding
from domain.tally import VoteType
from domain.votelog import Aggregation
from domain.votes import StoredVote
from grpc_server import (
    AccountsUnavailable,
    BookUnavailable,
    GrpcServer,
    InboxUnavailable,
    MarketFailed,
    Outage,
    OutcomeUnknown,
    Parts,
    ServerSettings,
    ShardUnavailable,
    Webhooks,
    build_server,
)
from identity import WebhookMode, WebhookSecrets, can_sign
from indexer.arrivals import fault_of_body
from storage.aggregations import AggregationReads
from storage.alerts import AlertReads
from storage.bridges import BridgeBook
from storage.database import NEVER_IDLE_S, Database, database_pool
from storage.event_reads import EventReads
from storage.feed_reads import FeedReads
from storage.inbox import Inbox
from storage.nonces import NonceStore
from storage.operator_reads import OperatorReads
from storage.positions import PositionTable
from storage.reads import MarketReads
from storage.reconciliations import Reconciliations
from storage.redis_nonces import RedisNonces
from storage.sessions import OperatorTokens, RefreshFamilies
from storage.transactions import PostgresTransactionStore
from storage.vote_log import VoteLog
from storage.votes import VoteReads

if TYPE_CHECKING:  # actors come in by the roles that run them, hardened first
    from actors.directory import Failure
    from actors.messages import Answer, Asked
    from app.tracing import Tracing
    from grpc_server.interceptors import Interceptor

READY_S_MAX = 30.0
INBOX_POOL = 4
"""Connections for webhooks alone: reads that are slow must not keep the sender waiting."""


class Router:
    """Adapts the actors' directory to the server's port."""

    def __init__(self, admin_port: int, traceparent: Callable[[], str | None] | None = None) -> None:
        from actors.directory import Directory

        self.directory = Directory(admin_port, hardening.seal(), traceparent)

    async def submit(self, command: Command) -> Outcome:
        """Carry out a command; the actors' failures become the server's outages."""
        outcome = _outcome(await self._asked(command))
        if isinstance(outcome, Outage):
            raise outcome
        return outcome

    async def standing(self, inquiry: AskStanding) -> ActorStanding | MarketNotFound:
        """How an actor stands, from itself."""
        answer = await self._asked(inquiry)
        if isinstance(answer, ActorStanding | MarketNotFound):
            return answer
        outcome = _outcome(answer)
        assert isinstance(outcome, Outage), f"{outcome} is no standing"
        raise outcome

    async def _asked(self, asked: Asked) -> Answer:
        from actors import directory

        try:
            return await self.directory.submit(asked)
        except (directory.OutcomeUnknown, directory.NotReached, directory.Overloaded) as failure:
            raise _outage(failure) from failure

    async def submit_many(self, commands: Sequence[Command]) -> Sequence[Outcome | Outage]:
        """Carry out many commands, each with an outcome or an outage of its own."""
        outages: dict[int, Outage] = {}  # the links fail whole batches with one exception
        return [
            outages.setdefault(id(answer), _outage(answer)) if isinstance(answer, Exception) else _outcome(answer)
            for answer in await self.directory.submit_many(commands)
        ]


def _outcome(answer: Answer) -> Outcome | Outage:
    from actors.messages import Failed, WrongOwner

    assert not isinstance(answer, WrongOwner), "the directory repeats those"
    assert not isinstance(answer, ActorStanding), "nobody asked for it"
    return MarketFailed(answer.incident) if isinstance(answer, Failed) else answer


def _outage(failure: Failure) -> Outage:
    from actors import directory

    if isinstance(failure, directory.OutcomeUnknown):
        return OutcomeUnknown(failure.waited_s)
    return ShardUnavailable(str(failure))


class Accounts:
    """Adapts the chain reader to the server's ports."""

    def __init__(self, reader: ChainReader) -> None:
        self._reader = reader

    async def market(self, market_id: MarketId) -> ObservedMarket | None:
        """The market's account, None when there is none."""
        with _chain_outages():
            return await self._reader.market(market_id)

    async def position(self, market_id: MarketId, wallet: Wallet, min_slot: int) -> ObservedPosition | None:
        """What the wallet holds, None when it holds nothing."""
        with _chain_outages():
            return await self._reader.position(market_id, wallet, min_slot)


@contextmanager
def _chain_outages() -> Iterator[None]:
    """With the time of our own breakers and patience only: an endpoint may ask for a day."""
    try:
        yield
    except NoEndpoint as outage:
        raise AccountsUnavailable(str(outage), outage.facts.retry_after_s) from outage
    except (ChainUnavailable, UndecodableAccount) as outage:
        raise AccountsUnavailable(str(outage)) from outage


class Book:
    """Adapts storage's reads to the server's port."""

    def __init__(self, reads: MarketReads, on_read: Callable[[Market], None]) -> None:
        self._reads = reads
        self._on_read = on_read

    async def get(self, market_id: MarketId) -> tuple[Market, Deadline | None] | None:
        """One market with its next deadline; `on_read` hears of it."""
        with retold(BookUnavailable):
            found = await self._reads.get(market_id)
        if found is not None:
            self._on_read(found[0])
        return found

    async def list(
        self, state: Lifecycle | None, after: tuple[int, MarketId] | None, limit: int
    ) -> Sequence[tuple[Market, Deadline | None]]:
        """A page of markets."""
        with retold(BookUnavailable):
            return await self._reads.list(state, after, limit)

    async def config(self) -> ChainConfig | None:
        """The last GlobalConfig."""
        with retold(BookUnavailable):
            return await self._reads.config()


class Votes:
    """Adapts storage's reads of votes to the server's port."""

    def __init__(self, reads: VoteReads) -> None:
        self._reads = reads

    async def list(
        self, market_id: MarketId, vote_type: VoteType | None, after: tuple[int, str] | None, limit: int
    ) -> Sequence[StoredVote]:
        """A page of votes."""
        with retold(BookUnavailable):
            return await self._reads.list(market_id, vote_type, after, limit)


class InboxOfBodies:
    """Adapts storage's inbox to the server's port."""

    def __init__(self, inbox: Inbox, tracing: Tracing | None = None) -> None:
        self._inbox = inbox
        self._tracing = tracing

    async def put(self, body: bytes) -> int:
        """Commit a body."""
        with retold(InboxUnavailable):
            return await self._inbox.put(body, self._tracing.traceparent() if self._tracing else None)

    async def keep_sample(self, body: bytes, why: str) -> None:
        """Keep the beginning of a body that is refused."""
        with retold(InboxUnavailable):
            await self._inbox.keep_sample(body, why)


def _webhooks(settings: Settings, database: Database, tracing: Tracing | None) -> Webhooks:
    secrets = WebhookSecrets(webhook_secrets(settings), WebhookMode(settings.webhook_auth))
    return Webhooks(InboxOfBodies(Inbox(database), tracing), secrets, fault_of_body)


class AggregationRows:
    """Adapts storage's reads of aggregations to the server's port."""

    def __init__(self, reads: AggregationReads) -> None:
        self._reads = reads

    async def list(
        self, market_id: MarketId | None, status: str | None, before: int | None, limit: int
    ) -> Sequence[Aggregation]:
        """A page of aggregations."""
        with retold(BookUnavailable):
            return await self._reads.list(market_id, status, before, limit)


def _traced_calls(tracing: Tracing | None) -> Interceptor | None:
    if tracing is None:
        return None
    from app.traced_calls import TracedCalls  # loads OpenTelemetry

    return TracedCalls(tracing)


def _can_sign(public_key: bytes) -> bool:
    """The identity's rules around a curve check that takes 4 us instead of 110, for votes in bulk."""
    return can_sign(public_key, lambda raw: Pubkey.from_bytes(raw).is_on_curve())


@asynccontextmanager
async def running_grpc(settings: Settings, grace_s: float) -> AsyncIterator[GrpcServer]:
    """The gRPC server; it binds once every virtual shard has an owner, or after 30 s all the same."""
    harden(settings)
    hardening.forbid_admin_start()
    breakers, tracing = Breakers(settings), tracing_of(settings, "zmart-grpc")
    router = Router(settings.ports.actor_admin, tracing.traceparent if tracing else None)
    router.directory.start()
    database = await database_pool(
        database_url(settings),
        settings.database_pool,
        "zmart-grpc",
        guard=breakers.asking_database,
        span=tracing.sql if tracing else None,
    )
    inbox_database = await database_pool(
        database_url(settings),
        INBOX_POOL,
        "zmart-inbox",
        idle_s=NEVER_IDLE_S,
        guard=breakers.asking_inbox,
        span=tracing.sql if tracing else None,
    )
    pool = rpc_pool(settings)
    reader = chain_reader(settings, tracing.asking(pool) if tracing else pool)
    probed = Probed(settings, database, reader, pool, breakers.states)
    accounts = Accounts(reader)
    tallies = TallyWatch(settings, database)
    feed = FeedReads(database, database_url(settings))
    limits, counts = call_limits(settings, breakers)
    nonces = RedisNonces(redis_url(settings))
    parts = Parts(
        router=tracing.commands(router) if tracing else router,
        tracing=_traced_calls(tracing),
        accounts=accounts,
        positions=IndexedPositions(PositionTable(database), accounts),
        book=Book(MarketReads(database), tallies.was_read),
        feed=MarketChanges(feed),
        votes=Votes(VoteReads(database)),
        events=Events(EventReads(database)),
        reconciliation=ReconciliationRows(Reconciliations(database)),
        alerts=Alerts(AlertReads(database)),
        aggregations=AggregationRows(AggregationReads(database)),
        operators=OperatorDesk(OperatorReads(database), router.standing),
        bridges=BridgeRows(BridgeBook(database)),
        attempts=Attempts(PostgresTransactionStore(database)),
        health=probed.parts(),
        event_types=EVENT_TYPES,
        vote_log=VoteLogs(VoteLog(database)),
        alarm=AlertStore(PostgresTransactionStore(database)),
        doorkeeper=doorkeeper(settings),
        challenges=challenges(settings, nonces, NonceStore(database), breakers),
        refreshes=refreshes(settings, RefreshFamilies(database)),
        revocations=Revocations(OperatorTokens(database)),
        limits=limits,
        now_s=lambda: int(clock.wall_s()),
        monotonic_s=clock.monotonic_s,
        new_id=lambda: str(uuid_utils.uuid7()),  # by time, so that votes go to the end of their index
        program_id=settings.program_id,
        signer=receipts(settings),
        verifies=verifies_strictly,
        can_sign=_can_sign,
        webhooks=_webhooks(settings, inbox_database, tracing),
    )
    secret = kept_secret(settings.data_dir / "page-token.key").encode()
    server = build_server(
        parts, ServerSettings(secret, settings.host, settings.ports.grpc, reflection=settings.grpc_reflection)
    )
    await asyncio.gather(router.directory.ready(VIRTUAL_SHARDS, READY_S_MAX), inbox_database.warm(INBOX_POOL))
    await server.start()
    try:
        yield server
    finally:
        await server.stop(grace_s)
        router.directory.stop()
        await feed.close()
        await tallies.stop()
        await probed.close()
        await reader.close()
        await counts.close()
        await nonces.close()
        await database.close()
        await inbox_database.close()
        if tracing:
            await tracing.close()
