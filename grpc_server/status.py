"""One table from reasons to gRPC: code, sentence and details of everything that a call can end with.

Every status carries google.rpc.ErrorInfo: its reason is the client's handle, its metadata holds every variable part of
the sentence (AIP-193). A test proves the table total over refusals, denials, problems and outages.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, fields

from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.rpc import error_details_pb2 as details
from google.rpc.status_pb2 import Status
from grpc import StatusCode

from domain import refusals
from grpc_server import ports, problems
from grpc_server.problems import Invalid, Problem, Violation
from identity import Denial, NonceStoreUnavailable, SessionStoreUnavailable

DOMAIN = "zmart.dev"
DETAILS_KEY = "grpc-status-details-bin"
RETRY_S = 1.0
"""What RetryInfo suggests: a killed shard is back in a tenth of it, a frozen one in twice of it."""
REPEAT = "repeat with the same request_id"


@dataclass(frozen=True, slots=True)
class Entry:
    """One row: the reason's code and its sentence, with the facts' names in braces."""

    reason: str
    code: StatusCode
    sentence: str


_INVALID = StatusCode.INVALID_ARGUMENT
_NOBODY = StatusCode.UNAUTHENTICATED
_STATE = StatusCode.FAILED_PRECONDITION
_AWAY = StatusCode.UNAVAILABLE

TABLE: Mapping[object, Entry] = {
    refusals.MarketNotFound: Entry("MARKET_NOT_FOUND", StatusCode.NOT_FOUND, "there is no market {market_id}"),
    refusals.WrongState: Entry("WRONG_STATE", _STATE, "market {market_id} is {actual}, this needs {wanted}"),
    refusals.VotingClosing: Entry(
        "VOTING_CLOSING", _STATE, "the votes of market {market_id} are on their way to the chain"
    ),
    refusals.AlreadyVoted: Entry(
        "ALREADY_VOTED", StatusCode.ALREADY_EXISTS, "this wallet has voted on market {market_id}"
    ),
    refusals.TooManyAttempts: Entry(
        "TOO_MANY_ATTEMPTS",
        StatusCode.RESOURCE_EXHAUSTED,
        "this wallet was refused too often on market {market_id}, try again in {retry_after_s} s",
    ),
    refusals.NoPosition: Entry(
        "NO_POSITION", StatusCode.PERMISSION_DENIED, "this wallet has no shares in market {market_id} to vote with"
    ),
    refusals.RequestIdReused: Entry("REQUEST_ID_REUSED", _INVALID, "request_id {request_id} came with another body"),
    refusals.IllegalTransition: Entry(
        "ILLEGAL_TRANSITION", _STATE, "market {market_id} is {actual}, nothing leads from there to {wanted}"
    ),
    refusals.KeyNeeded: Entry(
        "KEY_NEEDED", _STATE, "{instruction} of market {market_id} needs a key that this backend does not hold: {key}"
    ),
    refusals.TransitionNotDue: Entry(
        "TRANSITION_NOT_DUE", _STATE, "{instruction} of market {market_id} cannot be sent now: {why}"
    ),
    refusals.NotTheCreator: Entry(
        "NOT_THE_CREATOR", StatusCode.PERMISSION_DENIED, "only the creator of market {market_id} may do this"
    ),
    refusals.AlreadyInState: Entry(
        "ALREADY_IN_STATE", StatusCode.ALREADY_EXISTS, "nothing would change about market {market_id}"
    ),
    **{
        denial: Entry(denial.name, _NOBODY, sentence)
        for denial, sentence in {
            Denial.SIGN_IN_MESSAGE_MALFORMED: "the message is not a sign-in text",
            Denial.NONCE_UNKNOWN: "the nonce was not issued for this address, is used up or has expired",
            Denial.SIGN_IN_DOMAIN_MISMATCH: "the message names another domain than ours",
            Denial.SIGN_IN_ADDRESS_MISMATCH: "the message names another address than the one signing in",
            Denial.SIGN_IN_URI_MISMATCH: "the message names another URI than ours",
            Denial.SIGN_IN_CHAIN_MISMATCH: "the message names another chain than ours",
            Denial.SIGN_IN_FIELD_NOT_ISSUED: "the message has a field that the challenge did not have",
            Denial.SIGN_IN_MESSAGE_ALTERED: "the message differs from the challenge",
            Denial.CHALLENGE_NOT_YET_VALID: "the challenge was issued in the future",
            Denial.CHALLENGE_EXPIRED: "the challenge has expired",
            Denial.SIGNATURE_MALFORMED: "the signature is not base58 of 64 bytes",
            Denial.SIGNATURE_INVALID: "the signature is not this wallet's signature of the message",
            Denial.TOKEN_MISSING: "this call needs `authorization: Bearer <token>` or a service key",
            Denial.AUTHORIZATION_MALFORMED: "the authorization header is not `Bearer <token>`",
            Denial.TOKEN_MALFORMED: "the token is not a JWT",
            Denial.TOKEN_ALGORITHM_REFUSED: "the token is not signed with its key's algorithm",
            Denial.TOKEN_KEY_UNKNOWN: "the token names a key that is not ours",
            Denial.TOKEN_SIGNATURE_INVALID: "the token's signature is wrong",
            Denial.TOKEN_CLAIM_MISSING: "the token lacks a required claim",
            Denial.TOKEN_CLAIM_INVALID: "a claim of the token has a value that is never issued",
            Denial.TOKEN_ISSUER_MISMATCH: "the token was issued by somebody else",
            Denial.TOKEN_AUDIENCE_MISMATCH: "the token was issued for somebody else",
            Denial.TOKEN_EXPIRED: "the token has expired",
            Denial.TOKEN_REVOKED: "the token was revoked",
            Denial.REFRESH_TOKEN_MALFORMED: "this is not a refresh token",
            Denial.REFRESH_TOKEN_UNKNOWN: "the refresh token is not known (any more); sign in again",
            Denial.REFRESH_TOKEN_EXPIRED: "the session has ended; sign in again",
            Denial.REFRESH_TOKEN_REUSED: "the refresh token was used before, so its session has ended; sign in again",
            Denial.REFRESH_FAMILY_REVOKED: "the session was revoked; sign in again",
            Denial.WEBHOOK_NOT_PROVEN: "the webhook brings neither its secret nor a signature made with it",
        }.items()
    },
    Denial.ADDRESS_CANNOT_SIGN: Entry(
        Denial.ADDRESS_CANNOT_SIGN.name, _INVALID, "the address is not the public key of a wallet"
    ),
    Denial.SIGN_IN_DOMAIN_UNKNOWN: Entry(
        Denial.SIGN_IN_DOMAIN_UNKNOWN.name, _INVALID, "nobody can sign in here under that domain"
    ),
    **{
        invalid: Entry(invalid.name, _INVALID, f"{{field}}: {sentence}")
        for invalid, sentence in {
            Invalid.MARKET_ID_MALFORMED: "{value} is not base58 of 32 bytes, 64 hex digits or a UUID",
            Invalid.ADDRESS_MALFORMED: "{value} is not base58 of 32 bytes",
            Invalid.VOTE_WORD_UNKNOWN: "{value} is not a vote on this",
            Invalid.REQUEST_ID_MALFORMED: "{value} is not a UUID",
            Invalid.TEXT_MISSING: "this must not be empty",
            Invalid.TEXT_TOO_LONG: "at most {value} characters",
            Invalid.TEXT_NOT_PRINTABLE: "control characters are not allowed",
            Invalid.STATE_UNKNOWN: "{value} is not a state of a market",
            Invalid.SEVERITY_UNKNOWN: "{value} is not CRITICAL, HIGH, MEDIUM or LOW",
            Invalid.ALERT_STATUS_UNKNOWN: "{value} is not open, acknowledged or resolved",
            Invalid.ALERT_ID_MALFORMED: "{value} is not a UUID",
            Invalid.AGGREGATION_STATUS_UNKNOWN: "{value} is not a status of an aggregation",
            Invalid.TRANSACTION_STATUS_UNKNOWN: "{value} is not a status of a transaction",
            Invalid.TRANSACTION_ACTION_UNKNOWN: "{value} is not an instruction that this backend sends",
            Invalid.VOTE_TYPE_UNKNOWN: "{value} is not a type of votes",
            Invalid.VOTES_MISSING: "this must not be empty",
            Invalid.VOTES_TOO_MANY: "at most {value} votes",
            Invalid.EVENT_TYPE_UNKNOWN: "{value} is not a type of events",
            Invalid.TIME_MALFORMED: "{value} is neither RFC 3339 nor a date",
            Invalid.TIME_RANGE_EMPTY: "{value} is not later than the start",
            Invalid.SEARCH_WORD_MALFORMED: "{value} is not 3 to 88 letters and digits",
            Invalid.OFFSET_OUT_OF_RANGE: "{value} is not 0 to 10,000, a page token goes further",
            Invalid.PAGE_SIZE_NEGATIVE: "{value} is less than 0",
            Invalid.WALLET_SIGNATURE_INVALID: "not base58 of this wallet's 64-byte signature of this vote",
            Invalid.VOTE_NOT_NAMED: "a vote_id, or a vote_type and a user_pubkey are needed",
            Invalid.VOTE_ID_MALFORMED: "{value} is not a UUID",
            Invalid.AGGREGATION_ID_MALFORMED: "{value} is not a UUID",
            Invalid.PAGE_TOKEN_INVALID: "not a token of a page before, or the other fields have changed since",
            Invalid.RESUME_TOKEN_INVALID: "not a token of a watch of this market",
        }.items()
    },
    problems.RequestMalformed: Entry("REQUEST_MALFORMED", _INVALID, "the bytes are not the request of {method}"),
    problems.MessageTooLarge: Entry(
        "MESSAGE_TOO_LARGE", _INVALID, "{method} takes at most {bytes_max} bytes, not {bytes}"
    ),
    problems.WebhookMalformed: Entry("WEBHOOK_MALFORMED", _INVALID, "the body is no JSON of transactions: {fault}"),
    problems.TierTooLow: Entry(
        "TIER_TOO_LOW", StatusCode.PERMISSION_DENIED, "this call is for tier {needed}, you are {actual}"
    ),
    problems.RateLimited: Entry(
        "RATE_LIMITED",
        StatusCode.RESOURCE_EXHAUSTED,
        "tier {tier} has {limit} calls a minute, try again in {retry_after_s} s",
    ),
    problems.WalletMissing: Entry(
        "WALLET_MISSING", StatusCode.PERMISSION_DENIED, "this call is made by wallets, you are {actual}"
    ),
    problems.AlertNotFound: Entry("ALERT_NOT_FOUND", StatusCode.NOT_FOUND, "there is no alert {alert_id}"),
    problems.VoteNotFound: Entry(
        "VOTE_NOT_FOUND", StatusCode.NOT_FOUND, "there is no vote {vote} in the log of market {market_id}"
    ),
    problems.AggregationNotFound: Entry(
        "AGGREGATION_NOT_FOUND",
        StatusCode.NOT_FOUND,
        "no aggregation {aggregation_id} of market {market_id} counted this vote",
    ),
    problems.VotesAltered: Entry(
        "VOTES_ALTERED",
        StatusCode.DATA_LOSS,
        "the stored votes of market {market_id} do not have the root that was published",
    ),
    problems.ResumeTokenExpired: Entry(
        "RESUME_TOKEN_EXPIRED",
        StatusCode.OUT_OF_RANGE,
        "what market {market_id} told since is not kept any more; watch again without a token",
    ),
    problems.WatchTooSlow: Entry(
        "WATCH_TOO_SLOW",
        StatusCode.RESOURCE_EXHAUSTED,
        "{waiting_max} changes wait to be read; watch again from the last token",
    ),
    problems.TooManyWatches: Entry(
        "TOO_MANY_WATCHES", StatusCode.RESOURCE_EXHAUSTED, "{watches_max} watches are open here; try again"
    ),
    problems.NotServed: Entry("NOT_SERVED", StatusCode.UNIMPLEMENTED, "{method} is not served yet"),
    problems.MethodUnknown: Entry("METHOD_UNKNOWN", StatusCode.UNIMPLEMENTED, "there is no {method}"),
    problems.TooSlow: Entry(
        "DEADLINE_PASSED",
        StatusCode.DEADLINE_EXCEEDED,
        f"no answer within {{deadline_s}} s; the outcome of a write is unknown, {REPEAT}",
    ),
    problems.DeadlineTooShort: Entry(
        "DEADLINE_TOO_SHORT",
        StatusCode.DEADLINE_EXCEEDED,
        "the call came with less than {needed_ms} ms of its deadline left; nothing was done",
    ),
    problems.Busy: Entry("SERVER_BUSY", _AWAY, "{in_flight_max} calls are in flight; nothing was done, try again"),
    problems.Stopping: Entry("SERVER_STOPPING", _AWAY, "this server is stopping; nothing was done, try again"),
    problems.Incident: Entry("INTERNAL", StatusCode.INTERNAL, "this is our fault; the log has it as {incident}"),
    ports.OutcomeUnknown: Entry("OUTCOME_UNKNOWN", _AWAY, f"outcome unknown, {REPEAT}"),
    ports.ShardUnavailable: Entry("SHARD_UNAVAILABLE", _AWAY, "nobody can take this now; nothing was done, try again"),
    ports.MarketFailed: Entry("INTERNAL", StatusCode.INTERNAL, "this is our fault; the log has it as {incident}"),
    ports.AccountsUnavailable: Entry("CHAIN_UNAVAILABLE", _AWAY, "the chain cannot be read now; try again"),
    ports.BookUnavailable: Entry("DATABASE_UNAVAILABLE", _AWAY, "the database cannot be read now; try again"),
    ports.ReconciliationUnanswered: Entry(
        "RECONCILIATION_UNANSWERED", _AWAY, "the indexer has not answered; a run that was asked for still takes place"
    ),
    ports.InboxUnavailable: Entry("INBOX_UNAVAILABLE", _AWAY, "the body cannot be stored now; send it again"),
    SessionStoreUnavailable: Entry(
        "SESSIONS_UNAVAILABLE", _AWAY, "sessions and revocations cannot be read now; try again"
    ),
    NonceStoreUnavailable: Entry("SIGN_IN_UNAVAILABLE", _AWAY, "nobody can sign in now; try again"),
}

_RESOURCES: Mapping[type[object], tuple[str, str]] = {
    refusals.MarketNotFound: ("zmart.v1.Market", "market_id"),
    problems.AlertNotFound: ("zmart.v1.Alert", "alert_id"),
    problems.VoteNotFound: ("zmart.v1.Vote", "vote"),
    problems.AggregationNotFound: ("zmart.v1.Aggregation", "aggregation_id"),
}
"""What was not found: its message in the contract, and which fact names it."""

OUTAGES = (ports.Outage, NonceStoreUnavailable, SessionStoreUnavailable)
"""The families of exceptions that the table knows."""

_SHOWN: Mapping[type[Exception], tuple[str, ...]] = {
    ports.OutcomeUnknown: ("waited_s",),
    ports.MarketFailed: ("incident",),
}
"""Facts of an outage that a caller may see; its `why` is for the log."""


def status_of(cause: Problem | Exception) -> tuple[StatusCode, Status]:
    """The code and the whole status of a problem or an outage; KeyError for anything else."""
    entry = TABLE[_key(cause)]
    facts = _facts(cause)
    message = entry.sentence.format(**facts)
    info = details.ErrorInfo(reason=entry.reason, domain=DOMAIN, metadata=facts)
    status = Status(code=entry.code.value[0], message=message)
    for detail in (info, *_more(cause, entry, message, facts)):
        packed = AnyMessage()
        packed.Pack(detail)
        status.details.append(packed)
    return entry.code, status


def retry_after_s(cause: Problem | Exception) -> float | None:
    """When it is worth trying again: a limit or an open breaker knows, else RETRY_S for what passes; None for never."""
    known: float | None = getattr(cause, "retry_after_s", None)
    if known is not None:
        return known
    passes = TABLE[_key(cause)].code is _AWAY or isinstance(cause, problems.WatchTooSlow | problems.TooManyWatches)
    return RETRY_S if passes else None


def _key(cause: Problem | Exception) -> object:
    if isinstance(cause, Denial):
        return cause
    return cause.invalid if isinstance(cause, Violation) else type(cause)


def _facts(cause: Problem | Exception) -> dict[str, str]:
    if isinstance(cause, Denial):
        return {}
    if isinstance(cause, Exception):
        return {name: str(getattr(cause, name)) for name in _SHOWN.get(type(cause), ())}
    shown = (field.name for field in fields(cause) if field.name != "invalid")
    return {name: _word(getattr(cause, name)) for name in shown}


def _word(value: object) -> str:
    return value.name if isinstance(value, enum.Enum) else str(value)


def _more(cause: Problem | Exception, entry: Entry, message: str, facts: Mapping[str, str]) -> list[Message]:
    """The details besides ErrorInfo; each type once."""
    if isinstance(cause, Violation):
        broken = details.BadRequest.FieldViolation(field=cause.field, description=message, reason=entry.reason)
        return [details.BadRequest(field_violations=[broken])]
    if entry.code is _STATE:
        unmet = details.PreconditionFailure.Violation(
            type=entry.reason, subject=facts["market_id"], description=message
        )
        return [details.PreconditionFailure(violations=[unmet])]
    if entry.code is StatusCode.NOT_FOUND:
        resource_type, fact = _RESOURCES[type(cause)]
        return [details.ResourceInfo(resource_type=resource_type, resource_name=facts[fact], description=message)]
    wait_s = retry_after_s(cause)
    return [] if wait_s is None else [_retry_info(wait_s)]


def _retry_info(wait_s: float) -> details.RetryInfo:
    delay = Duration()
    delay.FromMilliseconds(int(wait_s * 1000))
    return details.RetryInfo(retry_delay=delay)
