"""Markets that fall due within the same minute are each finalized once, though a shard dies among them."""

from __future__ import annotations

from collections import Counter

import asyncpg
import pytest

from app.bench.due_markets import DueMarkets, due_markets
from tests.support.system import FAST

ATTEMPTS = "SELECT market_id, status FROM chain_transactions WHERE action = 'finalize_market'"
OWNERS = "SELECT max(epoch) AS epoch FROM virtual_shards"


async def finalized_once(due: DueMarkets, ended_s_max: float, kill_after_s: float) -> None:
    await due.adopt()
    database = await asyncpg.connect(due.connection["database_url"])
    first_epoch = await database.fetchval(OWNERS)
    await due.run(ended_s_max, kill_after_s)
    assert await database.fetchval(OWNERS) > first_epoch, "a shard was killed and has a successor"
    landed = Counter(
        row["market_id"] for row in await database.fetch(ATTEMPTS) if row["status"] in ("confirmed", "finalized")
    )
    assert landed == Counter(due.due_at_s.keys())
    assert await due.executions() == dict.fromkeys(due.due_at_s, 1), "as the ledger's own history has it"
    assert await due.states(ended_s_max) == {"FINALIZED": len(due.due_at_s)}
    await database.close()


@pytest.mark.long
@pytest.mark.timeout(400)
async def test_sixty_markets_due_at_once_are_finalized_once_each_though_a_shard_dies_among_them() -> None:
    with due_markets(60, within_s=3, env=FAST) as due:
        await finalized_once(due, ended_s_max=60, kill_after_s=1)


@pytest.mark.long
@pytest.mark.timeout(1_800)
async def test_ten_thousand_markets_due_within_a_minute_are_finalized_once_each_though_a_shard_dies() -> None:
    with due_markets(10_000, within_s=60) as due:
        await finalized_once(due, ended_s_max=1_200, kill_after_s=30)
