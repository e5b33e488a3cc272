"""AuthService: challenges out, tokens for their answers."""
# ruff: noqa: N802, ARG002 - grpc calls these methods by the contract's names and hands each a context

from __future__ import annotations

from typing import Any

from grpc.aio import ServicerContext

from grpc_server import translate
from grpc_server.problems import Rejected
from identity import Challenge, Challenges, Denial, Refreshes
from zmart.v1 import auth_service_pb2 as pb
from zmart.v1.auth_service_pb2_grpc import AuthServiceServicer


class AuthService(AuthServiceServicer):
    """Sign-In With Solana. Access tokens are short-lived; refresh tokens replace them, once each."""

    def __init__(self, challenges: Challenges, refreshes: Refreshes) -> None:
        self._challenges = challenges
        self._refreshes = refreshes

    async def CreateChallenge(
        self, request: pb.CreateChallengeRequest, context: ServicerContext[Any, Any]
    ) -> pb.CreateChallengeResponse:
        """Answer a fresh challenge."""
        challenge = await self._challenges.issue(translate.address(request.address), request.domain or None)
        if isinstance(challenge, Challenge):
            return translate.challenge_response(challenge)
        raise Rejected(challenge)

    async def SignIn(self, request: pb.SignInRequest, context: ServicerContext[Any, Any]) -> pb.SignInResponse:
        """Answer tokens of the wallet tier."""
        wallet = translate.address(request.address)
        denial = await self._challenges.redeem(wallet, request.message, request.signature)
        if denial is not None:
            raise Rejected(denial)
        return translate.sign_in_response(await self._refreshes.begin(wallet))

    async def RefreshToken(
        self, request: pb.RefreshTokenRequest, context: ServicerContext[Any, Any]
    ) -> pb.RefreshTokenResponse:
        """Answer the next pair of tokens."""
        session = await self._refreshes.refresh(request.refresh_token)
        if isinstance(session, Denial):
            raise Rejected(session)
        return translate.refresh_response(session)
