"""What it costs to know who calls and to hold them to their limit: one call after the other, in this process.

Ours are the server's own interceptors, with tokens remembered and calls leased from a real Valkey; every thousandth
call begins another minute, as for a wallet that uses its whole limit. The baseline verifies each token and counts each
call.
"""

from __future__ import annotations

import asyncio
import statistics
import tempfile
import time
import uuid
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, cast

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from app.bench.harness import Figures, Report, Shape, in_turns
from app.clock import wall_s
from app.embedded import EmbeddedValkey
from app.runner import Runner
from domain.ids import Wallet, base58_encode
from grpc_server import CallLimits
from grpc_server.calls import Context
from grpc_server.interceptors import Identities
from grpc_server.methods import POLICIES
from identity import Allowances, Doorkeeper, ServiceKeys, Tier, Tokens
from identity.keys import signing_key
from storage.call_counts import SharedCounts

SHAPE = Shape(seconds=2.0, rounds=3)
METHOD = "/zmart.v1.VoteService/GetTally"
LIMITS = {Tier.ANONYMOUS: 100, Tier.WALLET: 1_000, Tier.SERVICE: 10_000, Tier.ADMIN: 10_000}
FIGURE = "us_per_call_p50"


class _Call:
    """What the interceptors ask of a call."""

    def __init__(self, token: str) -> None:
        self._metadata = (("user-agent", "bench"), ("x-request-id", "x"), ("authorization", f"Bearer {token}"))

    def invocation_metadata(self) -> tuple[tuple[str, str], ...]:
        return self._metadata

    def set_trailing_metadata(self, metadata: Any) -> None:
        """Trailers cost their tuple only."""


class _Unrevoked:
    async def is_revoked(self, token_id: str) -> bool:  # noqa: ARG002 - a port
        return False


def measure(shape: Shape) -> Report:
    """Both in turns against one Valkey."""
    with tempfile.TemporaryDirectory(prefix="zmart-bench-") as name:
        valkey = EmbeddedValkey(Path(name) / "valkey")
        runner = Runner(f"bench-{uuid.uuid4()}", Path(name) / "logs")
        runner.start(valkey.role())
        try:
            return in_turns(
                "door",
                FIGURE,
                shape.rounds,
                lambda: asyncio.run(_ours(valkey.url, shape.seconds)),
                lambda: asyncio.run(_naive(valkey.url, shape.seconds)),
            )
        finally:
            runner.stop()


def _tokens() -> Tokens:
    key = signing_key(Ed25519PrivateKey.generate())
    return Tokens(key, (), "zmart", "zmart-api", lambda: int(wall_s()), lambda: str(uuid.uuid4()))


async def _ours(redis_url: str, seconds: float) -> Figures:
    shared, tokens, calls = SharedCounts(redis_url), _tokens(), 0
    wallet = Wallet(base58_encode(Ed25519PrivateKey.generate().public_key().public_bytes_raw()))
    start_s = wall_s()
    limits = CallLimits(Allowances(shared, LIMITS, lambda: start_s + calls // LIMITS[Tier.WALLET] * 60), [])
    identities = Identities(Doorkeeper(tokens, ServiceKeys([])), _Unrevoked(), limits.count_denied)
    policy = POLICIES[METHOD]
    context = cast(Context, _Call(tokens.issue(wallet, Tier.WALLET).token))

    async def answer(request: Any, context: Context) -> None:  # noqa: ARG001 - a behaviour
        nonlocal calls
        calls += 1

    call = identities.around(METHOD, policy, limits.around(METHOD, policy, answer))
    try:
        return await _timed(lambda: call(None, context), seconds)
    finally:
        await shared.close()


async def _naive(redis_url: str, seconds: float) -> Figures:
    shared, tokens = SharedCounts(redis_url), _tokens()
    token = tokens.issue(None, Tier.ADMIN).token

    async def call() -> None:
        tokens._checked(token)  # past what is remembered
        await shared.add("naive", 1, 60)

    try:
        return await _timed(call, seconds)
    finally:
        await shared.close()


async def _timed(call: Callable[[], Awaitable[None]], seconds: float) -> Figures:
    took: list[float] = []
    until_s = time.perf_counter() + seconds
    while (begun := time.perf_counter()) < until_s:
        await call()
        took.append(time.perf_counter() - begun)
    return {
        FIGURE: round(statistics.median(took) * 1e6, 1),
        "us_per_call_mean": round(statistics.fmean(took) * 1e6, 1),
        "calls": len(took),
    }
