"""Commands in: the gRPC services of `zmart.v1`, from bytes and metadata to domain commands and back.

It must never know actors, SQL, Solana or settings: it speaks domain types and reaches the rest through its own ports.
Start reading at `votes.py` (what one vote goes through), then `interceptors.py` (what every call goes through).
"""

from grpc_server.health import HealthParts
from grpc_server.limits import CallLimits
from grpc_server.ports import (
    AccountsUnavailable,
    Alarm,
    AlertBook,
    Attempt,
    AttemptBook,
    BookUnavailable,
    CommandRouter,
    EventBook,
    InboxUnavailable,
    MarketAccounts,
    MarketBook,
    MarketFailed,
    MarketFeed,
    OperatorBook,
    Outage,
    OutcomeUnknown,
    Position,
    Positions,
    ReconciliationDesk,
    ReconciliationUnanswered,
    ShardUnavailable,
    VoteBook,
    VoteLog,
    VotePlace,
    WebhookInbox,
)
from grpc_server.server import GrpcServer, Parts, PortTaken, ServerSettings, build_server
from grpc_server.webhooks import Webhooks

__all__ = [
    "AccountsUnavailable",
    "Alarm",
    "AlertBook",
    "Attempt",
    "AttemptBook",
    "BookUnavailable",
    "CallLimits",
    "CommandRouter",
    "EventBook",
    "GrpcServer",
    "HealthParts",
    "InboxUnavailable",
    "MarketAccounts",
    "MarketBook",
    "MarketFailed",
    "MarketFeed",
    "OperatorBook",
    "Outage",
    "OutcomeUnknown",
    "Parts",
    "PortTaken",
    "Position",
    "Positions",
    "ReconciliationDesk",
    "ReconciliationUnanswered",
    "ServerSettings",
    "ShardUnavailable",
    "VoteBook",
    "VoteLog",
    "VotePlace",
    "WebhookInbox",
    "Webhooks",
    "build_server",
]
