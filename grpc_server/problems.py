"""Why a call is not done, besides the domain's refusals, identity's denials and outages.

Every problem is a plain value with the facts of its case; `status.py` turns it into what goes over the wire.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass

from domain.ids import MarketId
from domain.refusals import Refusal
from identity import Denial, Tier

SHOWN_LENGTH_MAX = 64
"""Characters of a caller's own value that an answer repeats."""


class Invalid(enum.Enum):
    """What can be wrong with a field; a member's name is its reason in the public catalogue."""

    MARKET_ID_MALFORMED = enum.auto()
    ADDRESS_MALFORMED = enum.auto()
    VOTE_WORD_UNKNOWN = enum.auto()
    REQUEST_ID_MALFORMED = enum.auto()
    TEXT_MISSING = enum.auto()
    TEXT_TOO_LONG = enum.auto()
    TEXT_NOT_PRINTABLE = enum.auto()
    STATE_UNKNOWN = enum.auto()
    SEVERITY_UNKNOWN = enum.auto()
    ALERT_STATUS_UNKNOWN = enum.auto()
    ALERT_ID_MALFORMED = enum.auto()
    AGGREGATION_STATUS_UNKNOWN = enum.auto()
    TRANSACTION_STATUS_UNKNOWN = enum.auto()
    TRANSACTION_ACTION_UNKNOWN = enum.auto()
    VOTE_TYPE_UNKNOWN = enum.auto()
    VOTES_MISSING = enum.auto()
    VOTES_TOO_MANY = enum.auto()
    EVENT_TYPE_UNKNOWN = enum.auto()
    TIME_MALFORMED = enum.auto()
    TIME_RANGE_EMPTY = enum.auto()
    SEARCH_WORD_MALFORMED = enum.auto()
    OFFSET_OUT_OF_RANGE = enum.auto()
    PAGE_SIZE_NEGATIVE = enum.auto()
    WALLET_SIGNATURE_INVALID = enum.auto()
    VOTE_NOT_NAMED = enum.auto()
    VOTE_ID_MALFORMED = enum.auto()
    AGGREGATION_ID_MALFORMED = enum.auto()
    PAGE_TOKEN_INVALID = enum.auto()
    """Not ours, altered, or issued for other conditions than this request's."""
    RESUME_TOKEN_INVALID = enum.auto()


@dataclass(frozen=True, slots=True)
class Violation:
    """A field of the request breaks a rule; `value` is the beginning of what was given."""

    invalid: Invalid
    field: str
    value: str


@dataclass(frozen=True, slots=True)
class RequestMalformed:
    """The bytes are not the request's message."""

    method: str


@dataclass(frozen=True, slots=True)
class MessageTooLarge:
    """The request has more bytes than this method takes."""

    method: str
    bytes: int
    bytes_max: int


@dataclass(frozen=True, slots=True)
class WebhookMalformed:
    """The body of a webhook is not what webhooks are made of; a sample of it is kept."""

    fault: str


@dataclass(frozen=True, slots=True)
class TierTooLow:
    """Known, but not entitled."""

    needed: Tier
    actual: Tier


@dataclass(frozen=True, slots=True)
class RateLimited:
    """More calls this minute than the caller's tier has."""

    tier: Tier
    limit: int
    retry_after_s: int


@dataclass(frozen=True, slots=True)
class WalletMissing:
    """Entitled, but no wallet stands behind the caller, and this call is made by wallets."""

    actual: Tier


@dataclass(frozen=True, slots=True)
class AlertNotFound:
    """No alert has this id."""

    alert_id: str


@dataclass(frozen=True, slots=True)
class VoteNotFound:
    """The market has no such vote in its log; `vote` is what the caller named it by."""

    market_id: MarketId
    vote: str


@dataclass(frozen=True, slots=True)
class AggregationNotFound:
    """The market has no such aggregation, or it did not count this vote."""

    market_id: MarketId
    aggregation_id: str


@dataclass(frozen=True, slots=True)
class VotesAltered:
    """What is stored of a market's votes does not have the root that was published of them."""

    market_id: MarketId


@dataclass(frozen=True, slots=True)
class NotServed:
    """Part of the contract, not built yet."""

    method: str


@dataclass(frozen=True, slots=True)
class MethodUnknown:
    """No part of the contract."""

    method: str


@dataclass(frozen=True, slots=True)
class TooSlow:
    """The call's own deadline, or ours when it had none, has passed; a write may still be carried out."""

    deadline_s: float


@dataclass(frozen=True, slots=True)
class DeadlineTooShort:
    """The call came with less time left than any answer takes; nothing was done."""

    needed_ms: int


@dataclass(frozen=True, slots=True)
class Busy:
    """More calls are in flight than this server takes; nothing was done."""

    in_flight_max: int


@dataclass(frozen=True, slots=True)
class Stopping:
    """This server is about to go; nothing was done."""


@dataclass(frozen=True, slots=True)
class Incident:
    """A bug of ours; the log has the rest under this id."""

    incident: str


@dataclass(frozen=True, slots=True)
class ResumeTokenExpired:
    """What the market told since is not kept any more, or the stored history is another one."""

    market_id: MarketId


@dataclass(frozen=True, slots=True)
class WatchTooSlow:
    """The watcher takes changes more slowly than they are made; it may go on from its last token."""

    waiting_max: int


@dataclass(frozen=True, slots=True)
class TooManyWatches:
    """This server has as many watches as it takes."""

    watches_max: int


Problem = (
    Refusal
    | Denial
    | Violation
    | RequestMalformed
    | MessageTooLarge
    | WebhookMalformed
    | TierTooLow
    | RateLimited
    | WalletMissing
    | AlertNotFound
    | VoteNotFound
    | AggregationNotFound
    | VotesAltered
    | NotServed
    | MethodUnknown
    | TooSlow
    | DeadlineTooShort
    | Busy
    | Stopping
    | Incident
    | ResumeTokenExpired
    | WatchTooSlow
    | TooManyWatches
)


class Rejected(Exception):
    """Ends a call with a problem; raised by handlers and interceptors, taken by the error interceptor."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(repr(problem))
        self.problem = problem


def violation(invalid: Invalid, field: str, value: object = "") -> Rejected:
    """The rejection of one field."""
    return Rejected(Violation(invalid, field, str(value)[:SHOWN_LENGTH_MAX]))
