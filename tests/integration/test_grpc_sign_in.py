"""Signing in through a real server: challenge, answer, token, vote."""

import asyncio
import uuid
from collections.abc import AsyncIterator

import pytest
from grpc import StatusCode
from grpc.aio import AioRpcError

from identity import Caller, SessionStoreUnavailable, Tier
from tests.support.grpc_parts import Person, Served, failure, market_id_of, observed, served
from zmart.v1 import auth_service_pb2 as pb
from zmart.v1 import vote_service_pb2
from zmart.v1.auth_service_pb2_grpc import AuthServiceStub
from zmart.v1.ops_service_pb2 import ListAlertsRequest
from zmart.v1.ops_service_pb2_grpc import OpsServiceStub
from zmart.v1.vote_service_pb2_grpc import VoteServiceStub


@pytest.fixture
async def running() -> AsyncIterator[Served]:
    async with served() as running:
        yield running


@pytest.fixture
def person() -> Person:
    return Person()


async def answered(running: Served, person: Person) -> pb.SignInRequest:
    """A signed challenge that is not sent yet."""
    stub = AuthServiceStub(running.channel)
    challenge = await stub.CreateChallenge(pb.CreateChallengeRequest(address=person.wallet))
    assert challenge.nonce in challenge.message
    assert challenge.expires_at.seconds == running.clock.now_s() + 600
    return pb.SignInRequest(address=person.wallet, message=challenge.message, signature=person.sign(challenge.message))


async def test_a_wallet_signs_in_and_votes_with_its_token(running: Served, person: Person) -> None:
    running.accounts.put(observed(1, person.wallet))
    signed_in = await AuthServiceStub(running.channel).SignIn(await answered(running, person))
    assert signed_in.expires_at.seconds == running.clock.now_s() + 900
    assert signed_in.refresh_token
    vote = vote_service_pb2.CastProposalVoteRequest(market_id=market_id_of(1), vote="like")
    metadata = (("authorization", f"Bearer {signed_in.access_token}"),)
    assert (await VoteServiceStub(running.channel).CastProposalVote(vote, metadata=metadata)).success


async def test_a_page_gets_a_challenge_that_names_its_own_domain_if_that_is_ours(
    running: Served, person: Person
) -> None:
    stub = AuthServiceStub(running.channel)
    mine = await stub.CreateChallenge(pb.CreateChallengeRequest(address=person.wallet, domain="zmart.example"))
    assert mine.message.startswith("zmart.example wants") and "URI: https://zmart.example\n" in mine.message
    answer = pb.SignInRequest(address=person.wallet, message=mine.message, signature=person.sign(mine.message))
    assert (await stub.SignIn(answer)).access_token
    failed = await failure(
        stub.CreateChallenge(pb.CreateChallengeRequest(address=person.wallet, domain="evil.example"))
    )
    assert (failed.code, failed.info.reason) == (StatusCode.INVALID_ARGUMENT, "SIGN_IN_DOMAIN_UNKNOWN")


async def test_of_many_answers_to_one_challenge_exactly_one_wins(running: Served, person: Person) -> None:
    stub = AuthServiceStub(running.channel)
    answer = await answered(running, person)
    results = await asyncio.gather(*(stub.SignIn(answer) for _ in range(20)), return_exceptions=True)
    won = [result for result in results if isinstance(result, pb.SignInResponse)]
    lost = [result for result in results if isinstance(result, AioRpcError)]
    assert (len(won), len(lost)) == (1, 19)
    assert {error.code() for error in lost} == {StatusCode.UNAUTHENTICATED}


@pytest.mark.parametrize(
    ("field", "value", "reason"),
    [
        ("signature", "1" * 64, "SIGNATURE_INVALID"),
        ("signature", "no base58: 0", "SIGNATURE_MALFORMED"),
        ("message", "hello", "SIGN_IN_MESSAGE_MALFORMED"),
    ],
)
async def test_a_bad_answer_is_unauthenticated_with_its_own_reason(
    running: Served, person: Person, field: str, value: str, reason: str
) -> None:
    answer = await answered(running, person)
    setattr(answer, field, value)
    failed = await failure(AuthServiceStub(running.channel).SignIn(answer))
    assert (failed.code, failed.info.reason) == (StatusCode.UNAUTHENTICATED, reason)


async def test_a_late_answer_is_unauthenticated(running: Served, person: Person) -> None:
    answer = await answered(running, person)
    running.clock.at_s += 600
    failed = await failure(AuthServiceStub(running.channel).SignIn(answer))
    assert (failed.code, failed.info.reason) == (StatusCode.UNAUTHENTICATED, "NONCE_UNKNOWN")


async def test_addresses_that_cannot_sign_are_invalid_arguments(running: Served) -> None:
    stub = AuthServiceStub(running.channel)
    for address, reason in (("nobody", "ADDRESS_MALFORMED"), ("1" * 32, "ADDRESS_CANNOT_SIGN")):
        failed = await failure(stub.CreateChallenge(pb.CreateChallengeRequest(address=address)))
        assert (failed.code, failed.info.reason) == (StatusCode.INVALID_ARGUMENT, reason)


async def test_a_stale_token_keeps_nobody_from_signing_in(running: Served, person: Person) -> None:
    stale = (("authorization", "Bearer stale"),)
    answer = await answered(running, person)
    assert (await AuthServiceStub(running.channel).SignIn(answer, metadata=stale)).access_token


# --- staying signed in ------------------------------------------------------------------------------------------------


async def refreshed(running: Served, token: str) -> pb.RefreshTokenResponse:
    return await AuthServiceStub(running.channel).RefreshToken(pb.RefreshTokenRequest(refresh_token=token))


async def reason_for(running: Served, token: str) -> tuple[StatusCode, str]:
    failed = await failure(AuthServiceStub(running.channel).RefreshToken(pb.RefreshTokenRequest(refresh_token=token)))
    return failed.code, failed.info.reason


async def signed_in(running: Served, person: Person) -> pb.SignInResponse:
    return await AuthServiceStub(running.channel).SignIn(await answered(running, person))


async def test_a_refresh_token_gives_the_next_pair_for_the_same_wallet(running: Served, person: Person) -> None:
    first = await signed_in(running, person)
    running.clock.at_s += 1_000  # the access token has expired
    second = await refreshed(running, first.refresh_token)
    assert second.expires_at.seconds == running.clock.now_s() + 900
    assert running.tokens.verify(second.access_token) == Caller(Tier.WALLET, person.wallet, second.expires_at.seconds)
    assert (await refreshed(running, second.refresh_token)).refresh_token not in {
        first.refresh_token,
        second.refresh_token,
    }


async def test_a_refresh_token_that_comes_back_ends_its_whole_family_and_no_other(
    running: Served, person: Person
) -> None:
    first, other = await signed_in(running, person), await signed_in(running, person)
    second = await refreshed(running, first.refresh_token)
    assert await reason_for(running, first.refresh_token) == (StatusCode.UNAUTHENTICATED, "REFRESH_TOKEN_REUSED")
    assert await reason_for(running, second.refresh_token) == (StatusCode.UNAUTHENTICATED, "REFRESH_FAMILY_REVOKED")
    assert (await refreshed(running, other.refresh_token)).access_token


async def test_a_session_ends_after_thirty_days_however_often_it_was_refreshed(running: Served, person: Person) -> None:
    session = await signed_in(running, person)
    running.clock.at_s += 29 * 86_400
    again = await refreshed(running, session.refresh_token)
    running.clock.at_s += 86_400
    assert await reason_for(running, again.refresh_token) == (StatusCode.UNAUTHENTICATED, "REFRESH_TOKEN_EXPIRED")


@pytest.mark.parametrize(
    ("token", "reason"),
    [
        ("", "REFRESH_TOKEN_MALFORMED"),
        ("x", "REFRESH_TOKEN_MALFORMED"),
        ("x" * 10_000, "REFRESH_TOKEN_MALFORMED"),
        (f"{uuid.UUID(int=7)}.{'s' * 43}", "REFRESH_TOKEN_UNKNOWN"),
        (f"{uuid.UUID(int=7)}.{'s' * 43}\n", "REFRESH_TOKEN_MALFORMED"),
    ],
)
async def test_what_is_no_refresh_token_of_ours_is_unauthenticated(running: Served, token: str, reason: str) -> None:
    assert await reason_for(running, token) == (StatusCode.UNAUTHENTICATED, reason)


# --- operators --------------------------------------------------------------------------------------------------------


async def test_a_revoked_operators_token_opens_nothing_more(running: Served) -> None:
    metadata = running.bearer(None, Tier.ADMIN)
    await OpsServiceStub(running.channel).ListAlerts(ListAlertsRequest(), metadata=metadata)
    caller = running.tokens.verify(metadata[0][1].removeprefix("Bearer "))
    assert isinstance(caller, Caller)
    assert caller.credential_id is not None
    running.revoked.ids.add(caller.credential_id)
    failed = await failure(OpsServiceStub(running.channel).ListAlerts(ListAlertsRequest(), metadata=metadata))
    assert (failed.code, failed.info.reason) == (StatusCode.UNAUTHENTICATED, "TOKEN_REVOKED")


async def test_no_operator_is_let_in_while_nobody_knows_what_was_revoked(running: Served) -> None:
    running.revoked.outage = SessionStoreUnavailable("no answer from 10.0.0.7")
    metadata = running.bearer(None, Tier.ADMIN)
    failed = await failure(OpsServiceStub(running.channel).ListAlerts(ListAlertsRequest(), metadata=metadata))
    assert (failed.code, failed.info.reason) == (StatusCode.UNAVAILABLE, "SESSIONS_UNAVAILABLE")
