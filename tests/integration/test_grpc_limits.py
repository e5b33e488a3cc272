"""Calls a minute by tier, through a real server: who is counted as whom, and what the refused are told."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import replace

import pytest
from google.rpc import error_details_pb2 as details
from grpc import StatusCode
from grpc.aio import AioRpcError
from prometheus_client import REGISTRY

from app.config import Settings
from grpc_server import CallLimits
from identity import Allowances, Tier
from storage.call_counts import OwnCounts
from tests.support.grpc_parts import SERVICE_KEY, Person, Served, failure_of, served
from zmart.v1 import market_service_pb2 as pb
from zmart.v1.market_service_pb2_grpc import MarketServiceStub
from zmart.v1.ops_service_pb2 import GetHealthRequest
from zmart.v1.ops_service_pb2_grpc import OpsServiceStub

LIMITS = {Tier.ANONYMOUS: 3, Tier.WALLET: 5, Tier.SERVICE: 7, Tier.ADMIN: 7}
Metadata = Sequence[tuple[str, str]]


@pytest.fixture
async def running() -> AsyncIterator[Served]:
    async with served(per_min=LIMITS) as running:
        yield running


async def asked(running: Served, metadata: Metadata = ()) -> AioRpcError | dict[str, str]:
    """The trailers of an answer, or the failure."""
    call = MarketServiceStub(running.channel).ListMarkets(pb.ListMarketsRequest(), metadata=tuple(metadata))
    try:
        await call
    except AioRpcError as error:
        return error
    return {key: str(value) for key, value in await call.trailing_metadata()}


async def admitted(running: Served, metadata: Metadata = (), tries: int = 12) -> int:
    answers = [await asked(running, metadata) for _ in range(tries)]
    refused = [answer for answer in answers if isinstance(answer, AioRpcError)]
    assert all(answer.code() is StatusCode.RESOURCE_EXHAUSTED for answer in refused)
    assert answers[tries - len(refused) :] == refused
    return tries - len(refused)


async def test_each_tier_has_its_own_calls_a_minute_and_they_come_back(running: Served) -> None:
    service = (("x-service-key", SERVICE_KEY),)
    anna, bert = running.bearer(Person()), running.bearer(Person())
    for _ in range(2):
        assert await admitted(running) == 3
        assert [await admitted(running, wallet) for wallet in (anna, bert)] == [5, 5]
        assert await admitted(running, service) == 7
        assert await admitted(running, running.bearer(None, Tier.ADMIN)) == 7
        running.clock.at_s += 60


async def test_two_tokens_of_a_wallet_share_its_calls(running: Served) -> None:
    person = Person()
    first, second = running.bearer(person), running.bearer(person)
    assert first != second
    assert await admitted(running, first, tries=3) == 3
    assert await admitted(running, second) == 2


async def test_the_refused_are_told_when_to_come_back_and_all_others_what_is_left(running: Served) -> None:
    running.clock.at_s += 60 - running.clock.at_s % 60 + 18
    told = await asked(running)
    assert isinstance(told, dict)
    shown = {key: told[key] for key in ("ratelimit-limit", "ratelimit-remaining", "ratelimit-reset")}
    assert shown == {"ratelimit-limit": "3", "ratelimit-remaining": "2", "ratelimit-reset": "42"}
    await admitted(running, tries=2)
    refused = await asked(running)
    assert isinstance(refused, AioRpcError)
    trailers = {key: value for key, value in refused.trailing_metadata() if isinstance(value, str)}
    assert (trailers["retry-after"], trailers["ratelimit-remaining"]) == ("42", "0")
    assert trailers["x-request-id"]
    failed = failure_of(refused)
    assert failed.info.reason == "RATE_LIMITED"
    assert dict(failed.info.metadata) == {"tier": "ANONYMOUS", "limit": "3", "retry_after_s": "42"}
    assert failed.detail(details.RetryInfo).retry_delay.seconds == 42


async def test_forged_headers_win_nothing(running: Served) -> None:
    """A trusted proxy appends the address that it saw; what the client wrote stands before it."""
    for number in range(3):
        assert isinstance(await asked(running, (("x-forwarded-for", f"9.9.9.{number}, 1.2.3.4"),)), dict)
    for forged in (
        ("x-forwarded-for", "9.9.9.9, 1.2.3.4"),
        ("x-real-ip", "9.9.9.9"),
        ("forwarded", "for=9.9.9.9"),
    ):
        assert isinstance(await asked(running, (forged, ("x-forwarded-for", "1.2.3.4"))), AioRpcError)
    lookalikes = (
        ("x-service-key", SERVICE_KEY + " "),
        ("x-service-keys", SERVICE_KEY),
        ("service-key", SERVICE_KEY),
        ("x-tier", "ADMIN"),
        ("x-wallet", Person().wallet),
        ("x-jwt-claim-sub", Person().wallet),
    )
    assert isinstance(await asked(running, (*lookalikes, ("x-forwarded-for", "1.2.3.4"))), AioRpcError)


@pytest.mark.parametrize("trusted", ["", "10.0.0.0/8,::1/128"], ids=["nobody", "others"])
async def test_what_a_peer_that_is_no_trusted_proxy_claims_to_have_seen_changes_nothing(trusted: str) -> None:
    settings = Settings.model_validate({"trusted_proxies": trusted})
    allowances = Allowances(OwnCounts(), LIMITS, lambda: 6_000.0)
    limits = CallLimits(allowances, settings.proxies)
    async with served(around=lambda parts: replace(parts, limits=limits)) as running:
        answers = [await asked(running, (("x-forwarded-for", f"9.9.9.{number}"),)) for number in range(5)]
        answers.append(await asked(running))
    assert [isinstance(answer, dict) for answer in answers] == [True] * 3 + [False] * 3


def test_only_this_machine_is_trusted_unless_somebody_says_so() -> None:
    assert {str(network) for network in Settings(_env_file=None).proxies} == {"127.0.0.0/8", "::1/128"}


async def test_guessing_tokens_is_limited_by_address(running: Served) -> None:
    reasons = []
    for number in range(5):
        error = await asked(running, (("authorization", f"Bearer guess-{number}"),))
        assert isinstance(error, AioRpcError)
        reasons.append(failure_of(error).info.reason)
    assert reasons == ["TOKEN_MALFORMED"] * 3 + ["RATE_LIMITED"] * 2


async def test_probes_of_health_are_not_counted(running: Served) -> None:
    await admitted(running)
    for _ in range(3):  # above the limit of anybody else
        assert (await OpsServiceStub(running.channel).GetHealth(GetHealthRequest())).status


def calls_of(tier: Tier) -> tuple[float, float]:
    """How many of them were admitted, how many refused, since this process began."""
    admitted, refused = (
        REGISTRY.get_sample_value("zmart_limited_calls_total", {"tier": tier.name, "outcome": outcome})
        for outcome in ("admitted", "refused")
    )
    assert admitted is not None
    assert refused is not None
    return admitted, refused


async def test_operators_see_how_many_calls_of_which_tier_are_refused(running: Served) -> None:
    before = {tier: calls_of(tier) for tier in Tier}
    await admitted(running, tries=5)
    await admitted(running, running.bearer(Person()), tries=9)
    moved = {tier: tuple(b - a for a, b in zip(before[tier], calls_of(tier), strict=True)) for tier in Tier}
    assert moved == {Tier.ANONYMOUS: (3, 2), Tier.WALLET: (5, 4), Tier.SERVICE: (0, 0), Tier.ADMIN: (0, 0)}
