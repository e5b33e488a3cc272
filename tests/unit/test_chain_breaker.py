"""The breaker: five failures in a row open it, after a minute one probe decides."""

import asyncio
import contextlib

import pytest

from chain.breaker import Breaker, BreakerOpen


class Outage(Exception):
    pass


class Refusal(Exception):
    pass


class Clock:
    now_s = 1_000.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def breaker(clock: Clock) -> Breaker:
    return Breaker(clock, (Outage,))


def attempt(breaker: Breaker, failure: BaseException | None = None) -> None:
    with contextlib.suppress(Outage, Refusal), breaker.attempt():
        if failure is not None:
            raise failure


def opened(breaker: Breaker) -> None:
    for _ in range(5):
        attempt(breaker, Outage())


def test_five_failures_in_a_row_open_it_and_nobody_is_asked(breaker: Breaker) -> None:
    for _ in range(4):
        attempt(breaker, Outage())
    attempt(breaker)
    for _ in range(4):
        attempt(breaker, Outage())
    assert not breaker.is_open
    attempt(breaker, Outage())
    with pytest.raises(BreakerOpen, match="60 s") as refused:
        attempt(breaker)
    assert (breaker.is_open, refused.value.wait_s) == (True, 60.0)


def test_a_refusal_is_an_answer_and_closes_it(breaker: Breaker) -> None:
    for _ in range(4):
        attempt(breaker, Outage())
    attempt(breaker, Refusal())
    attempt(breaker, Outage())
    assert not breaker.is_open


def test_after_a_minute_one_probe_goes_out_and_its_success_closes_it(breaker: Breaker, clock: Clock) -> None:
    opened(breaker)
    clock.now_s += 60
    with breaker.attempt(), pytest.raises(BreakerOpen):
        attempt(breaker)
    assert not breaker.is_open
    attempt(breaker)


def test_a_failed_probe_keeps_it_open_for_another_minute(breaker: Breaker, clock: Clock) -> None:
    opened(breaker)
    clock.now_s += 60
    attempt(breaker, Outage())
    clock.now_s += 59
    with pytest.raises(BreakerOpen):
        attempt(breaker)
    clock.now_s += 1
    attempt(breaker)
    assert not breaker.is_open


def test_a_cancelled_probe_decides_nothing_and_leaves_room_for_the_next(breaker: Breaker, clock: Clock) -> None:
    opened(breaker)
    clock.now_s += 60
    with pytest.raises(asyncio.CancelledError), breaker.attempt():
        raise asyncio.CancelledError
    assert breaker.is_open
    attempt(breaker)
    assert not breaker.is_open


def test_stragglers_do_not_keep_it_open_for_longer(breaker: Breaker, clock: Clock) -> None:
    straggler = breaker.attempt()
    straggler.__enter__()
    opened(breaker)
    clock.now_s += 30
    with pytest.raises(Outage):
        straggler.gen.throw(Outage())
    assert breaker.wait_s == 30.0
