"""What a page of events costs among a million of them: rows made inside PostgreSQL, pages through the gRPC server."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Mapping
from typing import Any

import asyncpg
import grpc

from app.bench.harness import Figures, percentiles
from app.clock import monotonic_s
from zmart.v1 import event_service_pb2 as pb
from zmart.v1.event_service_pb2_grpc import EventServiceStub

EVENTS = 1_000_000
BIG_MARKET = "BigMarket" + "1" * 35
"""A market with a third of all events."""
FILL = """
INSERT INTO event_logs (
    transaction_signature, event_index, event_hash, block_slot, block_index, block_time, event_type, market_id,
    user_pubkey, event_data, raw, commitment, timestamp
)
SELECT md5((n / 2)::text) || md5((n / 2 + 1)::text), n % 2, md5(n::text), n / 20,
    CASE WHEN n % 20 < 18 THEN n % 20 / 2 END, to_timestamp(1700000000 + n / 50),
    CASE WHEN n % 10 < 6 THEN 'SharesBought' WHEN n % 10 < 8 THEN 'SharesSold' WHEN n % 1000 = 999 THEN 'MarketCreated'
        ELSE 'ProposalVoteSubmitted' END,
    CASE WHEN n % 3 = 0 THEN 'BigMarket' || repeat('1', 35) ELSE md5((n % 2000)::text) || 'market' END,
    'w' || md5((n % 977)::text), jsonb_build_object('shares', n::text, 'cost', '1000000000', 'outcome', true),
    decode(md5(n::text), 'hex'), 'finalized', to_timestamp(1700000000 + n / 50)
FROM generate_series(0, $1 - 1) AS n
"""
"""So many trades and votes: 20 a slot, 50 a second, a third of one market, the rest of 2,000 others."""
COUNT = """
INSERT INTO event_counts AS c
SELECT coalesce(market_id, ''), event_type, count(*) FROM event_logs GROUP BY 1, 2
ON CONFLICT (market_id, event_type) DO UPDATE SET count = excluded.count
"""
_TYPES = ("SharesBought", "SharesSold", "MarketCreated", "ProposalVoteSubmitted")
_SIZE = 100
FILL_S_MAX = 300.0


async def fill(database: asyncpg.Connection, count: int = EVENTS) -> None:
    """Put them in, and leave what a database that got them over months has left: vacuumed, counted, written to disk."""
    await database.execute(FILL, count, timeout=FILL_S_MAX)
    await database.execute(COUNT, timeout=FILL_S_MAX)
    await database.execute("VACUUM ANALYZE event_logs", timeout=FILL_S_MAX)
    await database.execute("CHECKPOINT", timeout=FILL_S_MAX)


async def pages(connection: Mapping[str, Any], seconds: float) -> Figures:
    """One page after the other, of every kind of list, first pages and pages in the middle."""
    async with grpc.aio.insecure_channel(connection["grpc_target"]) as channel:
        stub, dice, took_s = EventServiceStub(channel), random.Random(7), list[float]()  # noqa: S311 - the same pages each time
        until_s = monotonic_s() + seconds
        while monotonic_s() < until_s:
            asked_s = monotonic_s()
            await _page(stub, dice)
            took_s.append(monotonic_s() - asked_s)
            await asyncio.sleep(0)
    return {"pages": len(took_s), "events": EVENTS, **percentiles(took_s)}


async def _page(stub: Any, dice: random.Random) -> None:
    kind = dice.randrange(5)
    if kind == 0:
        await stub.SearchEvents(pb.SearchEventsRequest(q=dice.choice(("Shares", "BigMa", "marketc"))))
        return
    request = pb.ListEventsRequest(limit=_SIZE, offset=dice.choice((0, 0, 0, 1_000)))
    if kind in (1, 2):
        request.market_id = BIG_MARKET
    if kind in (2, 3):
        request.event_type = dice.choice(_TYPES)
    if kind == 4:
        day = dice.randrange(14, 15)
        request.from_time, request.to_time = f"2023-11-{day}T23:00:00Z", f"2023-11-{day + 1}T00:00:00Z"
    await stub.ListEvents(request)
