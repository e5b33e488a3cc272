"""What a batch tells of the spans that asked for it, and that one nobody traces tells nothing."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Sequence

import pytest

from actors.channel import framed
from actors.link import Link, Waiting
from actors.messages import Answer, Batch, Moved, TracedBatch
from tests.support.channel import Shard, seal
from tests.support.markets import vote

FIRST, SECOND = (f"00-{number * 16}-{'ab' * 8}-01" for number in ("11", "22"))


class Place:
    """One shard that stays where it is."""

    def __init__(self, shard: Shard) -> None:
        self._at = Moved("slot", shard.door, {0: 1})

    def place(self, _slot: str) -> Moved:
        return self._at

    async def news(self, until_s: float) -> None:
        raise AssertionError(f"nothing to wait for until {until_s}")

    def silent(self) -> None:
        raise AssertionError("every batch is answered")


@pytest.fixture
async def shard() -> AsyncIterator[Shard]:
    shard = Shard()
    yield shard
    shard.end()


async def sent(shard: Shard, traceparents: Sequence[str | None], *, is_traced: bool) -> Batch:
    """The batch that a vote for each of the spans becomes."""
    link = Link(Place(shard), "slot", seal(), is_traced=is_traced)
    futures: list[asyncio.Future[Answer]] = [asyncio.get_running_loop().create_future() for _ in traceparents]
    for number, (future, traceparent) in enumerate(zip(futures, traceparents, strict=True)):
        link.put(Waiting(vote(number), future, time.monotonic() + 60.0, traceparent=traceparent))
    await asyncio.gather(*futures)
    link.stop()
    (batch,) = shard.received
    return batch


async def test_a_batch_names_each_span_that_asked_for_some_of_it_once(shard: Shard) -> None:
    batch = await sent(shard, [FIRST, None, SECOND, FIRST], is_traced=True)
    assert isinstance(batch, TracedBatch)
    assert batch.asked_by == (FIRST, SECOND)
    assert len(batch.commands) == 4


@pytest.mark.parametrize("is_traced", [True, False])
async def test_a_batch_that_nobody_traces_is_not_a_byte_longer(shard: Shard, is_traced: bool) -> None:
    batch = await sent(shard, [None, None], is_traced=is_traced)
    assert type(batch) is Batch
    frame = framed(seal(), batch)
    assert b"asked_by" not in frame
    assert b"Traced" not in frame
    assert len(frame) == len(framed(seal(), Batch(batch.gateway, batch.batch_id, batch.epochs, batch.commands)))
