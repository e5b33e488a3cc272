"""The deadlines of a shard."""

import random

from hypothesis import given
from hypothesis import strategies as st

from actors.alarms import Alarms
from domain.deadlines import ClockName, Deadline
from tests.support.markets import market_id

CHAIN = ClockName.CHAIN


def test_what_is_due_comes_out_once_and_oldest_first() -> None:
    alarms = Alarms()
    for number in random.Random(7).sample(range(100), 100):
        alarms.set(market_id(number), Deadline(number, CHAIN))
    assert alarms.due(CHAIN, 49) == [market_id(number) for number in range(50)]
    assert alarms.due(CHAIN, 49) == []
    assert len(alarms) == 50


def test_a_backlog_comes_out_in_bounded_turns() -> None:
    alarms = Alarms()
    alarms.load((market_id(number), Deadline(1, CHAIN)) for number in range(10))
    assert [len(alarms.due(CHAIN, 5, limit=4)) for _ in range(4)] == [4, 4, 2, 0]


def test_a_moved_deadline_fires_at_its_new_time_only() -> None:
    alarms = Alarms()
    alarms.set(market_id(), Deadline(10, CHAIN))
    alarms.set(market_id(), Deadline(20, CHAIN))
    assert alarms.due(CHAIN, 15) == []
    assert alarms.due(CHAIN, 20) == [market_id()]


def test_the_clocks_are_apart() -> None:
    alarms = Alarms()
    alarms.set(market_id(), Deadline(10, ClockName.WALL))
    assert alarms.due(CHAIN, 99) == []
    assert alarms.due(ClockName.WALL, 10) == [market_id()]


@given(st.lists(st.tuples(st.integers(0, 5), st.one_of(st.none(), st.integers(0, 20)))), st.integers(0, 20))
def test_alarms_agree_with_a_plain_table(sets: list[tuple[int, int | None]], now_s: int) -> None:
    alarms, table = Alarms(), dict[int, int]()
    for number, at_s in sets:
        alarms.set(market_id(number), None if at_s is None else Deadline(at_s, CHAIN))
        table.pop(number, None)
        if at_s is not None:
            table[number] = at_s
    due = alarms.due(CHAIN, now_s)
    assert sorted(due) == sorted(market_id(number) for number, at_s in table.items() if at_s <= now_s)
    earliest = alarms.next_at_s(CHAIN)
    assert earliest is None or earliest <= min((at for at in table.values() if at > now_s), default=earliest)
