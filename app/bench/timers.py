"""`zmart bench timers`: many markets that fall due within the same minute, and a shard that is killed among them.

Ours is the whole system: deadlines in chain time, a decision and a commit for each, a transaction for each, and what
the ledger has of them in the end. Lateness is from when the chain first showed the deadline's second to when the row of
the transaction was written. The baseline is a bare asyncio timer for each market, in this process, that writes nothing.
"""

from __future__ import annotations

import asyncio
import gc

from app.bench.due_markets import DueMarkets, due_markets
from app.bench.harness import Figures, Report, Shape, in_turns, percentiles

SHAPE = Shape(seconds=60.0, rounds=1, markets=(10_000,))
ENDED_S_MAX = 900.0
"""From the first deadline on; what has not ended by then is lost."""
TIMERS_S = 5.0
"""A bare timer's lateness does not depend on how long it waits, only on how many fall due each second."""


class NotOnce(AssertionError):
    """The ledger's history has a market that was not finalized exactly once."""


def measure(shape: Shape) -> Report:
    """Compared is `lateness_p99_ms`; the promise is below 1,000."""
    (markets,) = shape.markets
    return in_turns(
        "timers",
        "lateness_p99_ms",
        shape.rounds,
        lambda: _ours(markets, int(shape.seconds)),
        lambda: asyncio.run(_bare(markets, shape.seconds)),
    )


def _ours(markets: int, within_s: int) -> Figures:
    with due_markets(markets, within_s, {"ZMART_LOG_LEVEL": "warning"}) as due:
        return asyncio.run(_lived(due, within_s))


async def _lived(due: DueMarkets, within_s: int) -> Figures:
    await due.adopt()
    await due.run(ENDED_S_MAX, kill_after_s=within_s / 2)
    executions = await due.executions()
    wrong = {market_id: count for market_id, count in executions.items() if count != 1}
    if wrong:
        raise NotOnce(f"{len(wrong)} of {len(executions)} markets, such as {next(iter(wrong.items()))}")
    return {**await due.figures(), "finalized_once": len(executions), "shards_killed": 1}


async def _bare(timers: int, within_s: float) -> Figures:
    """As many timers a second as ours has deadlines."""
    loop, late_s = asyncio.get_running_loop(), list[float]()
    count = max(1, int(timers * min(TIMERS_S, within_s) / within_s))
    began_s, pace_s, over = loop.time() + 0.1, within_s / timers, asyncio.Event()

    def fire(due_s: float) -> None:
        late_s.append(loop.time() - due_s)
        if len(late_s) == count:
            over.set()

    gc.collect()
    for index in range(count):
        due_s = began_s + index * pace_s
        loop.call_at(due_s, fire, due_s)
    await over.wait()
    figures = {f"lateness_{name}": value for name, value in percentiles(late_s).items()}
    return {"markets": count, **figures, "lateness_max_ms": round(max(late_s) * 1_000, 2)}
