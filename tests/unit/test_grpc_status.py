"""The table of reasons is total, consistent and small enough for a header."""

import dataclasses
import re
from collections.abc import Iterator
from typing import Any, get_args

import pytest
from google.protobuf.any_pb2 import Any as AnyMessage
from google.rpc import error_details_pb2 as details
from grpc import StatusCode

from domain import refusals
from domain.ids import MarketId
from domain.lifecycle import Lifecycle
from grpc_server import ports, problems
from grpc_server.problems import Invalid, Violation
from grpc_server.status import OUTAGES, RETRY_S, TABLE, retry_after_s, status_of
from identity import Denial, NonceStoreUnavailable, SessionStoreUnavailable, Tier

DETAILS_BYTES_MAX = 4_096
"""Larger details fail in transit, because they are a header."""
FACTS: dict[object, object] = {
    "MarketId": MarketId("1" * 44),
    "Lifecycle": Lifecycle.DISPUTED,
    "Tier": Tier.WALLET,
    "str": "x" * 64,
    "int": 5_000_000,
    "float": 20.0,
}
"""A value for every type that a fact has, as it is written in the class."""


def made(kind: type[Any]) -> Any:
    return kind(*(FACTS[field.type] for field in dataclasses.fields(kind)))


def every_cause() -> Iterator[Any]:
    for member in get_args(problems.Problem):
        if member is Violation:
            yield from (Violation(invalid, "field", "v" * 64) for invalid in Invalid)
        elif member is Denial:
            yield from Denial
        else:
            yield made(member)
    yield ports.OutcomeUnknown(5.0)
    yield ports.ShardUnavailable("no owner within 5 s")
    yield ports.MarketFailed("an incident")
    yield ports.AccountsUnavailable("no answer within 4 s")
    yield ports.BookUnavailable("connection refused by 10.0.0.7")
    yield ports.ReconciliationUnanswered("no answer within 15 s")
    yield ports.InboxUnavailable("not stored within 0.9 s")
    yield SessionStoreUnavailable("no answer from 10.0.0.7")
    yield NonceStoreUnavailable("redis at 10.0.0.7 is gone")


CAUSES = list(every_cause())


def unpacked(kind: Any, packed: AnyMessage) -> Any:
    message = kind()
    assert packed.Unpack(message)
    return message


def test_the_table_knows_every_refusal_denial_problem_and_outage_and_nothing_else() -> None:
    outages = {kind for family in OUTAGES for kind in (family.__subclasses__() or [family])}
    plain = {kind for kind in get_args(problems.Problem) if kind not in (Violation, Denial)}
    assert set(get_args(refusals.Refusal)) <= plain
    assert set(TABLE) == plain | set(Denial) | set(Invalid) | outages


def test_the_causes_of_this_test_are_all_there_are() -> None:
    keys = {cause.invalid if isinstance(cause, Violation) else cause for cause in CAUSES}
    assert len(keys) == len(TABLE)


@pytest.mark.parametrize("cause", CAUSES, ids=lambda cause: str(getattr(cause, "name", type(cause).__name__)))
def test_every_cause_gives_a_rich_status_that_fits_a_header(cause: Any) -> None:
    code, status = status_of(cause)
    info = unpacked(details.ErrorInfo, status.details[0])
    assert re.fullmatch(r"[A-Z][A-Z0-9_]{2,61}[A-Z0-9]", info.reason)
    assert info.domain == "zmart.dev"
    assert code is not StatusCode.OK
    assert status.code == code.value[0]
    assert status.message
    assert "{" not in status.message
    assert status.ByteSize() <= DETAILS_BYTES_MAX
    kinds = [detail.type_url for detail in status.details]
    assert len(kinds) == len(set(kinds))


@pytest.mark.parametrize("cause", CAUSES, ids=lambda cause: str(getattr(cause, "name", type(cause).__name__)))
def test_every_variable_part_of_the_sentence_is_in_the_metadata(cause: Any) -> None:
    _, status = status_of(cause)
    info = unpacked(details.ErrorInfo, status.details[0])
    key = cause if isinstance(cause, Denial) else cause.invalid if isinstance(cause, Violation) else type(cause)
    named = set(re.findall(r"{(\w+)}", TABLE[key].sentence))
    assert named <= set(info.metadata)


def test_reasons_are_unique_except_for_bugs() -> None:
    reasons = [entry.reason for entry in TABLE.values() if entry.code is not StatusCode.INTERNAL]
    assert len(reasons) == len(set(reasons))


@pytest.mark.parametrize(
    ("cause", "code"),
    [
        (refusals.AlreadyVoted(MarketId("m")), StatusCode.ALREADY_EXISTS),
        (refusals.WrongState(MarketId("m"), Lifecycle.ACTIVE, Lifecycle.PROPOSED), StatusCode.FAILED_PRECONDITION),
        (refusals.VotingClosing(MarketId("m")), StatusCode.FAILED_PRECONDITION),
        (refusals.MarketNotFound(MarketId("m")), StatusCode.NOT_FOUND),
        (refusals.NotTheCreator(MarketId("m")), StatusCode.PERMISSION_DENIED),
        (Denial.TOKEN_EXPIRED, StatusCode.UNAUTHENTICATED),
        (Denial.NONCE_UNKNOWN, StatusCode.UNAUTHENTICATED),
        (Violation(Invalid.VOTE_WORD_UNKNOWN, "vote", "maybe"), StatusCode.INVALID_ARGUMENT),
        (problems.MessageTooLarge("/m", 2, 1), StatusCode.INVALID_ARGUMENT),
        (problems.NotServed("/m"), StatusCode.UNIMPLEMENTED),
        (ports.OutcomeUnknown(5.0), StatusCode.UNAVAILABLE),
    ],
)
def test_the_codes_are_those_of_the_contract(cause: Any, code: StatusCode) -> None:
    assert status_of(cause)[0] is code


def test_an_outage_tells_when_to_come_back_and_not_where_it_hurts() -> None:
    _, status = status_of(ports.BookUnavailable("connection refused by 10.0.0.7"))
    assert unpacked(details.RetryInfo, status.details[1]).retry_delay.ToMilliseconds() == RETRY_S * 1_000
    assert "10.0.0.7" not in str(status)


def test_an_outage_whose_end_is_known_tells_it_and_what_is_for_good_tells_nothing() -> None:
    _, status = status_of(ports.BookUnavailable("nobody is asked", 42.5))
    assert unpacked(details.RetryInfo, status.details[1]).retry_delay.ToMilliseconds() == 42_500
    assert retry_after_s(ports.BookUnavailable("refused")) == RETRY_S
    assert retry_after_s(problems.NotServed("/m")) is None


def test_an_unknown_outcome_says_how_to_repeat() -> None:
    _, status = status_of(ports.OutcomeUnknown(5.0))
    assert status.message == "outcome unknown, repeat with the same request_id"


def test_a_wrong_state_names_both_states_and_is_a_failed_precondition() -> None:
    _, status = status_of(refusals.WrongState(MarketId("m"), Lifecycle.ACTIVE, Lifecycle.PROPOSED))
    (violation,) = unpacked(details.PreconditionFailure, status.details[1]).violations
    assert (violation.type, violation.subject) == ("WRONG_STATE", "m")
    assert violation.description == "market m is ACTIVE, this needs PROPOSED"


def test_what_the_table_does_not_know_is_no_status() -> None:
    with pytest.raises(KeyError):
        status_of(ValueError("a bug"))
