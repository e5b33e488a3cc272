"""The bridge under `zmart bench fanout`: the product's, over a real stream, with states and wallets made up.

Run as `python -m app.bench.fanout_bridge REDIS_URL [PORT]`, several on one port if it is given; the first line it
prints is its port.
"""

from __future__ import annotations

import asyncio
import hashlib
import random
import sys
from dataclasses import dataclass
from typing import cast

import redis.asyncio
import uvloop

from app import clock
from app.bench.fanout_load import CHANNEL
from app.collector import calm_collector
from domain.ids import base58_encode
from ws_bridge import FEED_STREAM
from ws_bridge.admission import AdmissionLimits
from ws_bridge.feed import RedisFeed
from ws_bridge.ports import Snapshot
from ws_bridge.server import Bridge, BridgeSettings

DAY_S = 86_400


@dataclass(frozen=True)
class _State:
    epoch: str
    seq: int
    payload: dict[str, object]


@dataclass(frozen=True)
class _Caller:
    wallet: str
    expires_at_s: int


class _States:
    """The one market's state, as the last message left it."""

    def __init__(self, redis_url: str) -> None:
        self._redis = redis.asyncio.from_url(redis_url, decode_responses=True)

    async def snapshot(self, channel: str) -> Snapshot | None:
        if channel != CHANNEL:
            return None
        seq = await self._last_seq()
        return _State("bench", seq, {"likes": seq})

    async def _last_seq(self) -> int:
        newest = cast("list[tuple[str, dict[str, str]]]", await self._redis.xrevrange(FEED_STREAM, count=1))
        return int(newest[0][1]["seq"]) if newest else 0


class _Tokens:
    def verify(self, token: str) -> _Caller:
        return _Caller(base58_encode(hashlib.sha256(token.encode()).digest()), int(clock.wall_s()) + DAY_S)


async def _serve(redis_url: str, port: int = 0) -> None:
    settings = BridgeSettings(port=port, shares_port=port > 0, admission=AdmissionLimits(accepts_per_s=100_000))
    bridge = Bridge(settings, RedisFeed(redis_url), _States(redis_url), _Tokens(), clock.wall_s, random.SystemRandom())
    await bridge.start()
    calm_collector()
    print(bridge.port, flush=True)  # noqa: T201 - how the bench learns the port
    await bridge.failed()


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as loop:
        loop.run(_serve(sys.argv[1], *map(int, sys.argv[2:])))
