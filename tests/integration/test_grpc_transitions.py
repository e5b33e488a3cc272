"""Transitions that operators ask for, through a real server on loopback."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from grpc import StatusCode

from domain.intents import Action, IntentStatus
from domain.lifecycle import Lifecycle
from grpc_server.transitions import ANSWER_S_MAX
from identity import Tier
from tests.support.grpc_parts import CONFIG, Person, Served, failure, market_id_of, observed, served
from zmart.v1 import market_service_pb2 as pb
from zmart.v1.market_service_pb2_grpc import MarketServiceStub

if TYPE_CHECKING:
    from zmart.v1.market_service_pb2_grpc import MarketServiceAsyncStub  # the generated stub's type for grpc.aio

MARKET = market_id_of(1)
CREATOR = Person().wallet


@pytest.fixture
async def running() -> AsyncIterator[Served]:
    async with served() as running:
        shows(running, Lifecycle.APPROVED)
        yield running


def shows(running: Served, state: Lifecycle, **changes: Any) -> None:
    running.accounts.accounts[MARKET] = replace(observed(1, CREATOR, state), **changes)


def stub(running: Served) -> MarketServiceAsyncStub:
    return MarketServiceStub(running.channel)


def admin(running: Served) -> Any:
    return running.bearer(None, Tier.ADMIN)


def planned(running: Served) -> list[Action]:
    return [intent.action for intent in running.town.attempts.planned.values()]


@pytest.mark.parametrize(
    ("method", "state", "action"),
    [
        ("Activate", Lifecycle.APPROVED, Action.ACTIVATE),
        ("Cancel", Lifecycle.PROPOSED, Action.CANCEL),
        ("Approve", Lifecycle.PROPOSED, Action.APPROVE),
    ],
)
async def test_a_transition_is_planned_and_answered_with_its_transaction(
    running: Served, method: str, state: Lifecycle, action: Action
) -> None:
    shows(running, state, proposal_likes=7, proposal_dislikes=3)
    request = getattr(pb, f"{method}MarketRequest")(market_id=MARKET)
    answer = await getattr(stub(running), f"{method}Market")(request, metadata=admin(running))
    assert planned(running) == [action]
    assert (answer.market_id, answer.status, answer.transaction_signature) == (MARKET, "sent", "sig")
    assert [answer.transaction_id] == list(running.town.attempts.planned)
    assert (await stub(running).GetMarket(pb.GetMarketRequest(market_id=MARKET))).state == state.name


async def test_a_repeat_with_the_same_request_id_answers_the_same_attempt(running: Served) -> None:
    asked = str(uuid.uuid4())
    request = pb.ActivateMarketRequest(market_id=MARKET, request_id=asked)
    first = await stub(running).ActivateMarket(request, metadata=admin(running))
    running.town.attempts.end(first.transaction_id, IntentStatus.FAILED, "Unauthorized")
    running.town.put(replace(running.town.markets[MARKET], intent=None))
    again = pb.ActivateMarketRequest(market_id=MARKET, request_id=asked.upper())
    second = await stub(running).ActivateMarket(again, metadata=admin(running))
    assert (second.transaction_id, second.status, second.error_name) == (first.transaction_id, "failed", "Unauthorized")
    assert len(running.town.attempts.planned) == 1
    cancel = pb.CancelMarketRequest(market_id=MARKET, request_id=asked)
    failed = await failure(stub(running).CancelMarket(cancel, metadata=admin(running)))
    assert (failed.code, failed.info.reason) == (StatusCode.INVALID_ARGUMENT, "REQUEST_ID_REUSED")


async def test_an_illegal_transition_names_both_states(running: Served) -> None:
    request = pb.FinalizeMarketRequest(market_id=MARKET)
    failed = await failure(stub(running).FinalizeMarket(request, metadata=admin(running)))
    assert (failed.code, failed.info.reason) == (StatusCode.FAILED_PRECONDITION, "ILLEGAL_TRANSITION")
    assert (failed.info.metadata["actual"], failed.info.metadata["wanted"]) == ("APPROVED", "FINALIZED")
    assert planned(running) == []


async def test_a_state_that_is_stale_here_is_looked_up_before_anybody_is_refused(running: Served) -> None:
    shows(running, Lifecycle.PROPOSED)
    await stub(running).GetMarket(pb.GetMarketRequest(market_id=MARKET))
    shows(running, Lifecycle.APPROVED, slot=11)
    running.clock.at_s += 60
    await stub(running).ActivateMarket(pb.ActivateMarketRequest(market_id=MARKET), metadata=admin(running))
    assert planned(running) == [Action.ACTIVATE]


async def test_without_the_key_the_answer_says_which_one_is_needed(running: Served) -> None:
    running.town.rules = replace(running.town.rules, config=replace(CONFIG, may_approve=False))
    request = pb.ActivateMarketRequest(market_id=MARKET)
    failed = await failure(stub(running).ActivateMarket(request, metadata=admin(running)))
    assert (failed.code, failed.info.reason) == (StatusCode.FAILED_PRECONDITION, "KEY_NEEDED")
    assert failed.info.metadata["key"] == f"admin {CONFIG.admin} or creator {CREATOR}"


async def test_an_attempt_that_stays_planned_is_answered_as_it_stands(running: Served) -> None:
    attempts = running.town.attempts

    def wait() -> None:
        attempts.end(next(iter(attempts.planned)), IntentStatus.PLANNED)
        running.clock.at_s += ANSWER_S_MAX / 2

    attempts.on_look = wait
    answer = await stub(running).CancelMarket(pb.CancelMarketRequest(market_id=MARKET), metadata=admin(running))
    assert answer.status == "planned"


async def test_transitions_are_for_the_admin_tier(running: Served) -> None:
    request = pb.CancelMarketRequest(market_id=MARKET)
    failed = await failure(stub(running).CancelMarket(request, metadata=running.bearer(Person())))
    assert (failed.code, failed.info.reason) == (StatusCode.PERMISSION_DENIED, "TIER_TOO_LOW")


async def test_a_request_id_that_is_no_uuid_is_an_invalid_argument(running: Served) -> None:
    request = pb.CancelMarketRequest(market_id=MARKET, request_id="once")
    failed = await failure(stub(running).CancelMarket(request, metadata=admin(running)))
    assert (failed.code, failed.info.reason) == (StatusCode.INVALID_ARGUMENT, "REQUEST_ID_MALFORMED")
