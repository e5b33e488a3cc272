"""What a vote on a dispute weighs: the wallet's shares, read on chain once its market is disputed (T8, CI D17)."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from dataclasses import replace

from domain.commands import CastVote
from domain.ids import MarketId, Wallet
from domain.lifecycle import Lifecycle
from domain.observed import ObservedPosition
from domain.refusals import NoPosition, Refusal, WrongState
from grpc_server.adoption import Adoption
from grpc_server.ports import AccountsUnavailable, Positions
from grpc_server.problems import Rejected

READS_MAX = 8
"""Position reads at once, beside those of markets."""
READ_S_MAX = 4.0
"""For waiting and reading together; below every call's own deadline."""
KEPT_MAX = 16_384
"""Positions remembered, about 10 MB; the one that was asked for longest ago is forgotten first."""

_Key = tuple[MarketId, Wallet]


class Weights:
    """Puts the weight and the slot it was read at on dispute votes.

    A disputed market is not traded any more, so a position read at or after the slot that showed the dispute is final,
    and so is its absence: nobody makes us read either twice. Raises what the adoption and the positions raise.
    """

    def __init__(self, adoption: Adoption, positions: Positions) -> None:
        self._adoption = adoption
        self._positions = positions
        self._reads = asyncio.Semaphore(READS_MAX)
        self._final: OrderedDict[_Key, ObservedPosition | None] = OrderedDict()

    async def weighed(self, vote: CastVote) -> CastVote:
        """The vote with its weight; rejects with MarketNotFound, WrongState or NoPosition, in this order.

        With a request_id it may be a repeat, which its market answers in any state: then only a wallet without shares
        is refused here, for it can never have voted.
        """
        key = (vote.market_id, vote.wallet)
        if key in self._final:
            self._final.move_to_end(key)
            return _put_on(vote, self._final[key], NoPosition(vote.market_id))
        market = await self._adoption.read_votable(vote.market_id, vote.vote_type)
        if market.state is Lifecycle.DISPUTED:
            position = self._keep(key, await self._read(key, market.observed_slot))
            return _put_on(vote, position, NoPosition(vote.market_id))
        repeatable = vote.request_id is not None
        position = await self._read(key, market.observed_slot) if repeatable else None
        return _put_on(vote, position, WrongState(vote.market_id, market.state, Lifecycle.DISPUTED))

    async def _read(self, key: _Key, min_slot: int) -> ObservedPosition | None:
        try:
            async with asyncio.timeout(READ_S_MAX), self._reads:
                return await self._positions.position(*key, min_slot)
        except TimeoutError as error:
            raise AccountsUnavailable(f"no answer within {READ_S_MAX} s") from error

    def _keep(self, key: _Key, position: ObservedPosition | None) -> ObservedPosition | None:
        self._final[key] = position
        if len(self._final) > KEPT_MAX:
            self._final.popitem(last=False)
        return position


def _put_on(vote: CastVote, position: ObservedPosition | None, refusal: Refusal) -> CastVote:
    weight = position.shares_yes + position.shares_no if position else 0
    if position is None or not weight:
        raise Rejected(refusal)
    return replace(vote, weight=weight, weight_slot=position.slot)
