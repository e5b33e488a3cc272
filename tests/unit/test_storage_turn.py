"""A session is used by one task at a time."""

from __future__ import annotations

import asyncio

import pytest

from storage.outages import JournalLost, StorageUnavailable, VirtualShardsHeld, outages
from storage.turn import Turn


async def test_tasks_take_their_turns_in_order() -> None:
    turn, order = Turn(), list[int]()

    async def use(number: int) -> None:
        async with turn:
            order.append(number)
            await asyncio.sleep(0)
            order.append(number)

    await asyncio.gather(*(use(number) for number in range(3)))
    assert order == [0, 0, 1, 1, 2, 2]


async def test_a_task_that_waits_for_itself_is_told() -> None:
    turn = Turn()
    async with turn:
        with pytest.raises(RuntimeError, match="this task"):
            async with turn:
                pass
    async with turn:
        pass


async def test_a_turn_that_does_not_come_is_an_outage() -> None:
    turn = Turn(timeout_s=0.01)

    async def wait() -> None:
        async with turn:
            pass

    async with turn:
        waiting = asyncio.create_task(wait())
        (outcome,) = await asyncio.gather(waiting, return_exceptions=True)
    assert isinstance(outcome, JournalLost)


async def test_an_exception_gives_the_turn_back() -> None:
    turn = Turn()
    with pytest.raises(ZeroDivisionError):
        async with turn:
            raise ZeroDivisionError
    async with turn:
        pass


def test_an_outage_is_named_where_it_happened() -> None:
    with pytest.raises(JournalLost, match="inner: refused") as lost, outages("outer"), outages("inner", JournalLost):
        raise ConnectionRefusedError("refused")
    assert (lost.value.operation, lost.value.cause, lost.value.sqlstate) == ("inner", "refused", None)


def test_an_outage_without_words_is_called_by_its_kind() -> None:
    with pytest.raises(StorageUnavailable, match="ask: TimeoutError"), outages("ask"):
        raise TimeoutError


def test_a_bug_is_not_an_outage() -> None:
    with pytest.raises(KeyError), outages("ask"):
        raise KeyError("a bug")


def test_held_shards_are_named_with_their_holders() -> None:
    held = VirtualShardsHeld({7: "b:1 pid 2", 3: "a:1 pid 2"}, 10.0)
    assert str(held) == "acquire: virtual shards still held after 10.0 s: 3 by a:1 pid 2, 7 by b:1 pid 2"
    assert isinstance(held, StorageUnavailable) and not isinstance(held, JournalLost)
