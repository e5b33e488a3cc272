"""The server: puts services, interceptors, health and reflection together, starts them and stops them gracefully."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any, TypeVar, cast

import grpc
from google.protobuf.descriptor import FileDescriptor
from grpc.aio import Server, ServicerContext
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from grpc_server import interceptors
from grpc_server.adoption import Adoption
from grpc_server.altered import AlteredVotes
from grpc_server.bulk import BulkVotes
from grpc_server.events import EventService
from grpc_server.exports import VoteExports
from grpc_server.health import Health, HealthParts
from grpc_server.log_trees import LogTrees
from grpc_server.markets import MarketService
from grpc_server.measuring import Measuring
from grpc_server.methods import HARD_BYTES_MAX
from grpc_server.naming import RequestIds
from grpc_server.ops import OpsService
from grpc_server.ops_actors import Actors
from grpc_server.ops_aggregations import Aggregations
from grpc_server.ops_alerts import Alerts
from grpc_server.ops_connections import Connections
from grpc_server.ops_discrepancies import Discrepancies
from grpc_server.page_tokens import PageTokens
from grpc_server.pipeline import Pipeline, UnknownMethods
from grpc_server.ports import (
    AggregationBook,
    Alarm,
    AlertBook,
    AttemptBook,
    BridgeDesk,
    CommandRouter,
    EventBook,
    MarketAccounts,
    MarketBook,
    MarketFeed,
    OperatorBook,
    Positions,
    ReconciliationDesk,
    VoteBook,
    VoteLog,
)
from grpc_server.problems import NotServed, Rejected
from grpc_server.proofs import VoteProofs
from grpc_server.receipts import ReceiptDesk
from grpc_server.sign_ins import AuthService
from grpc_server.traffic import Traffic
from grpc_server.transitions import Transitions
from grpc_server.vote_streams import VoteStreams
from grpc_server.voters import Voters
from grpc_server.votes import VoteAudit, VoteService
from grpc_server.watches import BOOKMARK_S, Watches
from grpc_server.webhooks import Webhooks, WebhookService
from grpc_server.weights import Weights
from identity import (
    Challenges,
    Doorkeeper,
    ReceiptSigner,
    Refreshes,
    Revocations,
    Verifies,
    VoteSignatures,
    can_sign,
    verifies,
)
from zmart.v1 import auth_service_pb2 as auth
from zmart.v1 import auth_service_pb2_grpc as auth_grpc
from zmart.v1 import event_service_pb2 as event
from zmart.v1 import event_service_pb2_grpc as event_grpc
from zmart.v1 import market_service_pb2 as market
from zmart.v1 import market_service_pb2_grpc as market_grpc
from zmart.v1 import ops_service_pb2 as ops
from zmart.v1 import ops_service_pb2_grpc as ops_grpc
from zmart.v1 import vote_service_pb2 as vote
from zmart.v1 import vote_service_pb2_grpc as vote_grpc
from zmart.v1 import webhook_service_pb2 as webhook
from zmart.v1 import webhook_service_pb2_grpc as webhook_grpc

OPTIONS = (
    ("grpc.so_reuseport", 0),  # two servers on one port would share it in silence (grpc #18210)
    ("grpc.keepalive_time_ms", 60_000),
    ("grpc.keepalive_timeout_ms", 20_000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.min_recv_ping_interval_without_data_ms", 30_000),
    ("grpc.max_connection_age_ms", 600_000),  # so that load balancers see new connections
    ("grpc.max_connection_age_grace_ms", 60_000),
    ("grpc.max_concurrent_streams", 1_000),
    ("grpc.max_receive_message_length", HARD_BYTES_MAX),
    ("grpc.max_send_message_length", 4 * 1024 * 1024),
)
STRAGGLERS_S_MAX = 2.0
"""How long a stopping server goes on telling newcomers so; grpc itself drops waiting calls with a bare CANCELLED."""

_Servicer = TypeVar("_Servicer")


class PortTaken(Exception):
    """The address cannot be bound, most likely because another server has it; fatal at start."""

    def __init__(self, address: str, why: str) -> None:
        super().__init__(f"cannot listen on {address}: {why}")
        self.address = address


@dataclass(frozen=True, slots=True)
class ServerSettings:
    """`port` 0 takes any free one; all servers behind one name share `page_token_secret` (32 bytes or more)."""

    page_token_secret: bytes
    host: str = "127.0.0.1"
    port: int = 0
    reflection: bool = True
    in_flight_max: int = interceptors.IN_FLIGHT_MAX
    bookmark_s: float = BOOKMARK_S


@dataclass(frozen=True, slots=True)
class Parts:
    """What the services work with; `now_s` is Unix seconds, `new_id` gives UUIDs that nobody had before."""

    router: CommandRouter
    accounts: MarketAccounts
    positions: Positions
    book: MarketBook
    feed: MarketFeed
    votes: VoteBook
    events: EventBook
    reconciliation: ReconciliationDesk
    alerts: AlertBook
    aggregations: AggregationBook
    operators: OperatorBook
    bridges: BridgeDesk
    attempts: AttemptBook
    health: HealthParts
    event_types: tuple[str, ...]
    """All names that an event can have."""
    vote_log: VoteLog
    alarm: Alarm
    doorkeeper: Doorkeeper
    challenges: Challenges
    refreshes: Refreshes
    revocations: Revocations
    limits: interceptors.Limits
    now_s: Callable[[], int]
    monotonic_s: Callable[[], float]
    new_id: Callable[[], str]
    program_id: str
    signer: ReceiptSigner
    can_sign: Callable[[bytes], bool] = can_sign
    """Whether 32 bytes are the key of somebody who can sign."""
    webhooks: Webhooks | None = None
    """None: webhooks are not served."""
    tracing: interceptors.Interceptor | None = None
    """What makes a span of each call; None: nothing does."""
    verifies: Verifies = verifies
    """Whether (public key, signature, message) fit."""


class GrpcServer:
    """A grpc.aio server with everything on it; made, started and stopped in one event loop."""

    def __init__(
        self,
        server: Server,
        settings: ServerSettings,
        adoption: Adoption,
        in_flight: interceptors.InFlight,
        streams: VoteStreams,
        watches: Watches,
        health_servicer: Any,
        services: tuple[str, ...],
    ) -> None:
        self._server = server
        self._settings = settings
        self._adoption = adoption
        self._in_flight = in_flight
        self._streams = streams
        self._watches = watches
        self._health = health_servicer
        self._services = services
        self.port = 0

    @property
    def in_flight(self) -> int:
        """Calls of the contract under way."""
        return self._in_flight.count

    async def start(self) -> None:
        """Bind, serve and report SERVING. Raises `PortTaken`."""
        address = f"{self._settings.host}:{self._settings.port}"
        try:
            self.port = self._server.add_insecure_port(address)
        except RuntimeError as error:
            raise PortTaken(address, str(error)) from error
        await self._server.start()
        for service in ("", *self._services):
            await self._health.set(service, health_pb2.HealthCheckResponse.SERVING)

    async def stop(self, grace_s: float) -> int:
        """Report NOT_SERVING, refuse new calls, let those under way finish, and return how many were cut off.

        What the grace period does not suffice for is cancelled; its callers see UNAVAILABLE or CANCELLED.
        """
        await self._health.enter_graceful_shutdown()
        self._in_flight.close()
        self._streams.stop()
        self._watches.stop()
        cut_off = await self._in_flight.drained(grace_s)
        await self._in_flight.deserted(STRAGGLERS_S_MAX if grace_s else 0.0)
        await self._server.stop(None)  # ends health and reflection streams too, which would last for ever
        await self._watches.close()
        await self._adoption.close()
        return cut_off


def build_server(parts: Parts, settings: ServerSettings) -> GrpcServer:
    """A server that is not started yet. Call in the event loop that it will run in."""
    in_flight = interceptors.InFlight(settings.in_flight_max)
    traffic = Traffic(parts.monotonic_s)
    chain = interceptors.chain(
        parts.new_id, in_flight, parts.doorkeeper, parts.revocations, parts.limits, Measuring(traffic), parts.tracing
    )
    server = grpc.aio.server(options=OPTIONS)
    adoption = Adoption(parts.router, parts.accounts, parts.book, parts.monotonic_s)
    page_tokens = PageTokens(settings.page_token_secret, parts.now_s)
    weights = Weights(adoption, parts.positions)
    audit = _audit(parts, adoption)
    bulk = BulkVotes(adoption, weights, Voters(parts.can_sign), audit.signatures, parts.signer, parts.new_id)
    streams = VoteStreams(bulk.cast)
    votes = VoteService(adoption, weights, bulk, streams, parts.book, parts.votes, page_tokens, audit, parts.new_id)
    watches = Watches(parts.feed, settings.bookmark_s)
    transitions = Transitions(adoption, parts.attempts, parts.new_id, parts.monotonic_s)
    markets = MarketService(adoption, parts.book, page_tokens, transitions, watches, parts.now_s)
    look = Health(parts.health, traffic, parts.monotonic_s)
    services = _register(cast(Server, Pipeline(server, chain)), parts, votes, markets, adoption, page_tokens, look)
    health_servicer = health.aio.HealthServicer()
    health_pb2_grpc.add_HealthServicer_to_server(health_servicer, server)
    if settings.reflection:
        names = (*services, health.SERVICE_NAME, reflection.SERVICE_NAME)
        reflection.enable_server_reflection(names, server)
    server.add_generic_rpc_handlers((UnknownMethods(RequestIds(parts.new_id)),))
    return GrpcServer(server, settings, adoption, in_flight, streams, watches, health_servicer, services)


def _audit(parts: Parts, adoption: Adoption) -> VoteAudit:
    altered, desk = AlteredVotes(parts.alarm, parts.monotonic_s), ReceiptDesk(parts.signer)
    trees = LogTrees(parts.vote_log, altered)
    return VoteAudit(
        VoteSignatures(parts.program_id, parts.verifies),
        desk,
        VoteProofs(adoption, parts.vote_log, trees, desk, altered),
        VoteExports(adoption, parts.vote_log, trees, parts.signer, altered, parts.program_id, parts.now_s),
    )


def _register(
    server: Server,
    parts: Parts,
    votes: VoteService,
    markets: MarketService,
    adoption: Adoption,
    page_tokens: PageTokens,
    look: Health,
) -> tuple[str, ...]:
    """Put every service of the contract on the server and return their names."""
    events = EventService(parts.events, parts.event_types, page_tokens)
    discrepancies = Discrepancies(parts.reconciliation, page_tokens, parts.monotonic_s)
    alerts = Alerts(parts.alerts, page_tokens, parts.now_s)
    aggregations = Aggregations(adoption, parts.aggregations, page_tokens, parts.monotonic_s)
    sign_ins = AuthService(parts.challenges, parts.refreshes)
    actors, connections = Actors(parts.operators, page_tokens), Connections(parts.bridges, parts.monotonic_s)
    operators = OpsService(look, discrepancies, alerts, aggregations, actors, connections)
    return (
        _add(server, auth.DESCRIPTOR, sign_ins, auth_grpc.add_AuthServiceServicer_to_server),
        _add(server, vote.DESCRIPTOR, votes, vote_grpc.add_VoteServiceServicer_to_server),
        _add(server, market.DESCRIPTOR, markets, market_grpc.add_MarketServiceServicer_to_server),
        _add(server, event.DESCRIPTOR, events, event_grpc.add_EventServiceServicer_to_server),
        _add(
            server,
            webhook.DESCRIPTOR,
            WebhookService(parts.webhooks) if parts.webhooks else webhook_grpc.WebhookServiceServicer(),
            webhook_grpc.add_WebhookServiceServicer_to_server,
        ),
        _add(server, ops.DESCRIPTOR, operators, ops_grpc.add_OpsServiceServicer_to_server),
    )


def _add(server: Server, file: FileDescriptor, servicer: _Servicer, add: Callable[[_Servicer, Server], None]) -> str:
    """Put one service on the server, with NOT_SERVED for what its servicer does not have yet, and return its name."""
    (descriptor,) = file.services_by_name.values()
    for method in descriptor.methods:
        owner = next(kind for kind in type(servicer).__mro__ if method.name in vars(kind))
        if owner.__module__.endswith("_pb2_grpc"):
            path = f"/{descriptor.full_name}/{method.name}"
            setattr(servicer, method.name, _not_served(path, method.server_streaming))
    add(servicer, server)
    return str(descriptor.full_name)


def _not_served(path: str, streams: bool) -> Callable[[Any, ServicerContext[Any, Any]], Any]:
    async def unary(request: Any, context: ServicerContext[Any, Any]) -> Any:  # noqa: ARG001 - a handler
        raise Rejected(NotServed(path))

    async def streaming(request: Any, context: ServicerContext[Any, Any]) -> AsyncIterator[Any]:  # noqa: ARG001
        raise Rejected(NotServed(path))
        yield

    return streaming if streams else unary
