"""A few workers for many things."""

from __future__ import annotations

import asyncio

import pytest

from grpc_server.crew import work_through


async def test_everything_is_done_in_order_by_so_many_at_once() -> None:
    begun: list[int] = []
    at_work = at_work_max = 0

    async def work(number: int) -> None:
        nonlocal at_work, at_work_max
        begun.append(number)
        at_work += 1
        at_work_max = max(at_work_max, at_work)
        await asyncio.sleep(0)
        at_work -= 1

    await work_through(range(20), work, 3)
    assert begun == list(range(20))
    assert at_work_max == 3


async def test_more_workers_than_things_are_no_trouble() -> None:
    done: list[int] = []

    async def work(number: int) -> None:
        done.append(number)

    await work_through([1, 2], work, 8)
    assert done == [1, 2]


async def test_time_that_is_up_leaves_the_rest_undone() -> None:
    begun: list[int] = []

    async def work(number: int) -> None:
        begun.append(number)
        if len(begun) == 2:
            bound.reschedule(asyncio.get_running_loop().time())
        await asyncio.Event().wait()

    with pytest.raises(TimeoutError):
        async with asyncio.timeout(None) as bound:
            await work_through(range(10), work, 2)
    assert begun == [0, 1]
