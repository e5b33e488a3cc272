"""AuthService: challenges out, tokens for their answers."""
# ruff: noqa: N802, ARG002 - grpc calls these methods by the contract's names and hands each a context

from __future__ import annotations

from typing import Any

from grpc.aio import ServicerContext

from grpc_server import translate
from grpc_server.problems import Rejected
from identity import Challenge, Challenges, Tier, Tokens
from zmart.v1 import auth_service_pb2 as pb
from zmart.v1.auth_service_pb2_grpc import AuthServiceServicer


class AuthService(AuthServiceServicer):
    """Sign-In With Solana. Tokens are short-lived; refreshing them is not served yet."""

    def __init__(self, challenges: Challenges, tokens: Tokens) -> None:
        self._challenges = challenges
        self._tokens = tokens

    async def CreateChallenge(
        self, request: pb.CreateChallengeRequest, context: ServicerContext[Any, Any]
    ) -> pb.CreateChallengeResponse:
        """Answer a fresh challenge."""
        challenge = await self._challenges.issue(translate.address(request.address))
        if isinstance(challenge, Challenge):
            return translate.challenge_response(challenge)
        raise Rejected(challenge)

    async def SignIn(self, request: pb.SignInRequest, context: ServicerContext[Any, Any]) -> pb.SignInResponse:
        """Answer a token of the wallet tier."""
        wallet = translate.address(request.address)
        denial = await self._challenges.redeem(wallet, request.message, request.signature)
        if denial is not None:
            raise Rejected(denial)
        return translate.sign_in_response(self._tokens.issue(wallet, Tier.WALLET))
