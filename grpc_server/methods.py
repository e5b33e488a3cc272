"""What each method of the contract asks of its callers: tier, time and size. A test proves the table total."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from identity import Tier

READ_S = 5.0
WRITE_S = 20.0
KIB = 1024
SMALL_BYTES_MAX = 16 * KIB
"""For requests of a few fields; the longest legal one, a sign-in, has 3 KiB."""
BULK_BYTES_MAX = 256 * KIB
"""1,024 votes of at most 256 bytes, the bound of a shard's batch."""
WEBHOOK_BYTES_MAX = 4 * KIB * KIB + 4 * KIB
"""A body of 4 MiB and its wrapping."""
HARD_BYTES_MAX = 5 * KIB * KIB
"""The server's own limit, beyond which grpc answers without details (decisions A6)."""


@dataclass(frozen=True, slots=True)
class Policy:
    """`deadline_s` is for callers that set none, None for streams that may stay; `request_bytes_max` is per message.

    Without `identified`, the authorization header is not ours to judge: a stale token must not keep anybody from
    signing in, and webhooks send a secret there. Without `limited`, calls are not counted: the sender of webhooks
    must not be refused, and probes of health read what is kept anyway.
    """

    tier: Tier
    deadline_s: float | None
    request_bytes_max: int = SMALL_BYTES_MAX
    identified: bool = True
    limited: bool = True


_READ = Policy(Tier.ANONYMOUS, READ_S)
_SIGN_IN = Policy(Tier.ANONYMOUS, READ_S, identified=False)
_WALLET_WRITE = Policy(Tier.WALLET, WRITE_S)
_ADMIN_READ = Policy(Tier.ADMIN, READ_S)
_ADMIN_WRITE = Policy(Tier.ADMIN, WRITE_S)

_SERVICES: Mapping[str, Mapping[str, Policy]] = {
    "AuthService": {
        "CreateChallenge": _SIGN_IN,
        "SignIn": _SIGN_IN,
        "RefreshToken": _SIGN_IN,
    },
    "VoteService": {
        "CastProposalVote": _WALLET_WRITE,
        "CastDisputeVote": _WALLET_WRITE,
        "CastVotes": Policy(Tier.SERVICE, WRITE_S, BULK_BYTES_MAX),
        "StreamVotes": Policy(Tier.SERVICE, None, BULK_BYTES_MAX),
        "GetTally": _READ,
        "ListVotes": _READ,
        "GetVoteProof": Policy(Tier.ANONYMOUS, WRITE_S),  # the first one of a market reads the whole log
        "ExportVotes": Policy(Tier.ANONYMOUS, None),
    },
    "MarketService": {
        "GetMarket": _READ,
        "ListMarkets": _READ,
        "WatchMarket": Policy(Tier.ANONYMOUS, None),
        "RegisterMarket": _WALLET_WRITE,
        "ApproveMarket": _ADMIN_WRITE,
        "ActivateMarket": _ADMIN_WRITE,
        "CancelMarket": _ADMIN_WRITE,
        "FinalizeMarket": _ADMIN_WRITE,
    },
    "EventService": {
        "ListEvents": _READ,
        "SearchEvents": _READ,
    },
    "WebhookService": {
        "ReceiveHeliusEvents": Policy(Tier.ANONYMOUS, READ_S, WEBHOOK_BYTES_MAX, identified=False, limited=False),
    },
    "OpsService": {
        "GetHealth": Policy(Tier.ANONYMOUS, READ_S, limited=False),
        "ListAlerts": _ADMIN_READ,
        "AcknowledgeAlert": _ADMIN_WRITE,
        "ResolveAlert": _ADMIN_WRITE,
        "ListDiscrepancies": _ADMIN_READ,
        "RunReconciliation": _ADMIN_WRITE,
        "AggregateNow": _ADMIN_WRITE,
        "ListAggregations": _ADMIN_READ,
        "ListShards": _ADMIN_READ,
        "DescribeActor": _ADMIN_READ,
        "ListTransactions": _ADMIN_READ,
        "ListConnections": _ADMIN_READ,
        "KickConnections": _ADMIN_WRITE,
    },
}

POLICIES: Mapping[str, Policy] = {
    f"/zmart.v1.{service}/{method}": policy
    for service, methods in _SERVICES.items()
    for method, policy in methods.items()
}
"""By the full method name, as it stands in the HTTP/2 path."""
