"""Transitions that operators ask for: approve, activate, cancel, finalize."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable

from domain.commands import MoveMarket
from domain.ids import MarketId
from domain.intents import Action, IntentStatus
from domain.outcomes import Done, VoteTaken
from domain.refusals import AlreadyInState
from grpc_server import translate
from grpc_server.adoption import Adoption
from grpc_server.ports import Attempt, AttemptBook
from grpc_server.problems import Invalid, Rejected
from grpc_server.translate import uuid_text
from zmart.v1 import market_service_pb2 as pb

ANSWER_S_MAX = 10.0
"""How long a new attempt is waited for until it is sent; below the call's own deadline. It goes on all the same."""
LOOK_S = 0.2
"""How often is looked where it stands."""
_WAITING = (IntentStatus.PLANNED, IntentStatus.SIGNED)
_REQUESTS = uuid.UUID("7f8f0f1e-52a5-4f0f-9f0b-6a4f8a3f9d53")
"""Namespace of the ids of attempts that were asked for under a request_id."""


MoveRequest = pb.ApproveMarketRequest | pb.ActivateMarketRequest | pb.CancelMarketRequest | pb.FinalizeMarketRequest


def asked(request: MoveRequest) -> tuple[MarketId, str | None]:
    """The market and the request_id, None without one."""
    named = request.HasField("request_id")
    request_id = uuid_text(request.request_id, "request_id", Invalid.REQUEST_ID_MALFORMED) if named else None
    return translate.market_id(request.market_id), request_id


class Transitions:
    """Has a market's actor plan the transition, and answers where its attempt stands.

    A request_id names an attempt for good: a repeat finds that one, however it ended. Another request_id is a new try.
    """

    def __init__(
        self,
        adoption: Adoption,
        book: AttemptBook,
        new_id: Callable[[], str],
        monotonic_s: Callable[[], float],
    ) -> None:
        self._adoption = adoption
        self._book = book
        self._new_id = new_id
        self._monotonic_s = monotonic_s

    async def move(self, market_id: MarketId, action: Action, request_id: str | None) -> Attempt:
        """Answer once the attempt was sent or has ended, with where it stands after 10 s; rejects with a refusal."""
        intent_id = self._new_id() if request_id is None else _intent_id(market_id, request_id)
        outcome = await self._adoption.submit(MoveMarket(market_id, intent_id, action, request_id))
        if not isinstance(outcome, Done | AlreadyInState):
            assert not isinstance(outcome, VoteTaken), "nobody has voted"
            raise Rejected(outcome)
        until_s = self._monotonic_s() + ANSWER_S_MAX
        while True:
            attempt = await self._book.attempt(intent_id)
            assert attempt is not None, f"attempt {intent_id} was committed and cannot be found"
            if attempt.status not in _WAITING or self._monotonic_s() >= until_s:
                return attempt
            await asyncio.sleep(LOOK_S)


def _intent_id(market_id: MarketId, request_id: str) -> str:
    """The attempt's id, the same for every repeat: a request_id is its market's own, as it is with votes."""
    return str(uuid.uuid5(_REQUESTS, f"{market_id}:{request_id}"))
