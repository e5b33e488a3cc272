"""Many timers as one: late by less than a slot, never early, and nothing rings that was cancelled."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ws_bridge.alarms import SLOT_S, Alarms


@dataclass
class Clock:
    now_s: float = 0.0

    def __call__(self) -> float:
        return self.now_s


@given(delays_s=st.lists(st.floats(0, 60), max_size=50), steps_s=st.lists(st.floats(0.01, 1.0), max_size=80))
def test_alarms_ring_in_the_first_turn_a_slot_after_their_time(delays_s: list[float], steps_s: list[float]) -> None:
    clock = Clock(1_000.0)
    alarms, rung = Alarms(clock), set[int]()
    for place, delay_s in enumerate(delays_s):
        alarms.call_later(delay_s, partial(rung.add, place))
    for step_s in steps_s:
        clock.now_s += step_s
        for alarm in alarms.due():
            assert alarm.ring is not None
            alarm.ring()
        passed_s = clock.now_s - 1_000.0
        assert {place for place, delay_s in enumerate(delays_s) if delay_s + SLOT_S < passed_s - 1e-6} <= rung
        assert rung <= {place for place, delay_s in enumerate(delays_s) if delay_s <= passed_s}


async def test_what_was_cancelled_never_rings_also_not_by_one_of_the_same_slot() -> None:
    clock, rung, all_rung = Clock(), list[str](), asyncio.Event()
    alarms = Alarms(clock)

    def first() -> None:
        rung.append("first")
        second.cancel()

    alarms.call_later(0.2, first)
    second = alarms.call_later(0.2, lambda: rung.append("second"))
    alarms.call_later(0.2, all_rung.set)
    clock.now_s = SLOT_S
    running = asyncio.create_task(alarms.run())
    await all_rung.wait()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert rung == ["first"]


async def test_a_bug_in_what_rings_ends_the_task_that_the_bridge_watches() -> None:
    clock = Clock()
    alarms = Alarms(clock)

    def broken() -> None:
        raise AssertionError("a bug")

    alarms.call_later(0.0, broken)
    clock.now_s = SLOT_S
    with pytest.raises(AssertionError, match="a bug"):
        await alarms.run()
