"""Events on their way in, over a real database and a real ledger: written once, heard by markets, settled."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from chain.program import NEWEST_PROGRAM_ID
from chain.subscription import LogSubscription, SubscriptionEnded
from domain.commands import AdoptMarket
from domain.lifecycle import Lifecycle
from tests.support.eventually import eventually_async
from tests.support.indexing import Bench, as_items, open_bench
from tests.support.ledger import Chain, market_id


@pytest.fixture
async def bench(chain: Chain, database_url: str) -> AsyncIterator[Bench]:
    """An indexer over a new ledger and a new database."""
    async with open_bench(chain, database_url) as opened:
        yield opened


async def test_a_webhook_becomes_an_event_and_its_market_is_adopted(bench: Bench) -> None:
    market = await bench.chain.create_market()
    await bench.put(bench.body())
    await bench.work()
    (event,) = await bench.rows.all("SELECT * FROM event_logs")
    assert (event["event_type"], event["market_id"], event["commitment"]) == ("MarketCreated", market, "confirmed")
    assert bench.markets.markets[market].state is Lifecycle.PROPOSED
    assert await bench.rows.one("SELECT count(*) FROM market_effects") == 0
    assert await bench.rows.one("SELECT status FROM webhook_inbox") == "done"


def _specified(item: dict[str, Any]) -> dict[str, Any]:
    signature, logs = item["transaction"]["signatures"][0], item["meta"]["logMessages"]
    return {"transaction": {"signature": signature, "slot": item["slot"], "blockTime": item["blockTime"], "logs": logs}}


def _enhanced(item: dict[str, Any]) -> dict[str, Any]:
    return {"signature": item["transaction"]["signatures"][0], "slot": item["slot"], "type": "UNKNOWN"}


SHAPES: dict[str, Callable[[dict[str, Any]], Any]] = {
    "raw array": lambda item: [item],
    "raw object": lambda item: item,
    "specified": _specified,
    "specified array": lambda item: [_specified(item)],
    "enhanced": lambda item: [_enhanced(item)],
}


@pytest.mark.parametrize("shape", SHAPES)
async def test_a_transaction_becomes_the_same_event_whatever_shape_it_is_told_in(bench: Bench, shape: str) -> None:
    market = await bench.chain.create_market()
    (item,) = as_items(bench.body())
    await bench.put(json.dumps(SHAPES[shape](item)).encode())
    await bench.work()
    while await bench.indexer.fetcher.step():
        pass
    await bench.hear()
    (event,) = await bench.rows.all("SELECT event_type, event_index, market_id, fault, block_slot FROM event_logs")
    assert tuple(event) == ("MarketCreated", 0, market, None, item["slot"])
    assert await bench.rows.one("SELECT status FROM webhook_inbox") == "done"
    assert market in bench.markets.markets


async def test_the_gap_filler_reads_what_nobody_brought_in_the_order_of_the_chain(bench: Bench) -> None:
    await bench.chain.create_market(1)
    await bench.chain.create_market(2)
    await bench.indexer.filler.sweep()
    await bench.hear()
    events = await bench.events()
    assert [event[7] for event in events if event[6] == "MarketCreated"] == [market_id(1), market_id(2)]
    assert events[0][6] == "GlobalConfigInitialized"
    assert {command.market_id for command in bench.markets.commands if isinstance(command, AdoptMarket)} == {
        market_id(1),
        market_id(2),
    }


async def test_a_confirmed_event_is_finalized_once_no_fork_can_undo_it(bench: Bench) -> None:
    await bench.chain.create_market()
    await bench.put(bench.body())
    await bench.work()
    assert not await bench.indexer.promoter.step()
    for _ in range(33):
        bench.chain.ledger.tick()
    assert await bench.indexer.promoter.step()
    assert await bench.rows.one("SELECT commitment FROM event_logs") == "finalized"
    assert await bench.rows.one("SELECT commitment FROM indexed_transactions") == "finalized"


async def test_an_indexer_that_runs_hears_of_new_transactions_by_itself(live_chain: Chain, database_url: str) -> None:
    async with open_bench(live_chain, database_url) as bench:
        running = asyncio.create_task(bench.indexer.run())
        market = await live_chain.create_market()

        async def adopted() -> bool:
            return market in bench.markets.markets

        async def is_final() -> bool:
            found = await bench.rows.all("SELECT commitment FROM event_logs WHERE market_id = $1", market)
            return [row["commitment"] for row in found] == ["finalized"]

        await eventually_async(adopted, timeout_s=60)
        await eventually_async(is_final, timeout_s=60)
        running.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await running


async def test_a_subscription_tells_signatures_and_says_when_it_ends(live_chain: Chain) -> None:
    subscription = LogSubscription(live_chain.ledger.pubsub_url, NEWEST_PROGRAM_ID)
    hints = subscription.hints()
    assert await anext(hints) is None
    await live_chain.create_market()
    hint = await anext(hints)
    assert hint is not None and len(hint[0]) > 80
    await hints.aclose()  # type: ignore[attr-defined]
    nowhere = LogSubscription("ws://127.0.0.1:1", NEWEST_PROGRAM_ID)
    with pytest.raises(SubscriptionEnded):
        await anext(nowhere.hints())
