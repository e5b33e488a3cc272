"""How open votes stand, for the bridge: one statement for however many markets, and the chain's clock."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from chain.client import ChainReader
from chain.program import UndecodableAccount
from chain.rpc import ChainUnavailable, RpcRefused
from domain.feed import votes_channel
from domain.rules import Schedule
from domain.voting_progress import progress_payload
from storage.reads import MarketReads

CLOCK_READ_EVERY_S = 5.0
CLOCK_TIMEOUT_S = 1.0


@dataclass(frozen=True, slots=True)
class Standing:
    """How one vote stands, and the last numbered message that it contains."""

    epoch: str
    seq: int
    payload: Mapping[str, Any]


class VotingProgress:
    """The bridge's port. Our clock carries the chain's on between two readings; before one nothing is told."""

    def __init__(
        self, reads: MarketReads, reader: ChainReader, schedule: Schedule, monotonic_s: Callable[[], float]
    ) -> None:
        self._reads, self._reader, self._schedule, self._monotonic_s = reads, reader, schedule, monotonic_s
        self._ahead_s: float | None = None
        self._read_at_s = float("-inf")

    async def progress(self, channels: Sequence[str]) -> Mapping[str, Standing]:
        """By channel, those whose vote is open; raises StorageUnavailable (an OSError)."""
        await self._read_clock()
        if self._ahead_s is None or not channels:
            return {}
        chain_s = int(self._monotonic_s() + self._ahead_s)
        config = await self._reads.config()
        told = {}
        for epoch, market in await self._reads.many([channel.partition("_")[2] for channel in channels]):
            payload = progress_payload(market, config, self._schedule, chain_s)
            if payload is not None:
                told[votes_channel(market.market_id)] = Standing(epoch, market.votes_seq, payload)
        return told

    async def _read_clock(self) -> None:
        if self._monotonic_s() - self._read_at_s < CLOCK_READ_EVERY_S:
            return
        try:
            async with asyncio.timeout(CLOCK_TIMEOUT_S):
                clock = await self._reader.clock()
        except (ChainUnavailable, RpcRefused, UndecodableAccount, TimeoutError):
            return
        self._read_at_s = self._monotonic_s()
        self._ahead_s = clock.unix_s - self._read_at_s
