"""When a shard expects that a batch of votes is new, and what a wrong guess costs it."""

from __future__ import annotations

from actors.voting import STEPS_FIRST, STEPS_MAX, Caution


def steps_until_it_dares(caution: Caution) -> int:
    steps = 0
    while not caution.dares():
        steps += 1
    return steps


def test_it_dares_as_long_as_that_goes_well() -> None:
    caution = Caution()
    for _ in range(10):
        assert caution.dares()
        caution.learn(True)


def test_each_disappointment_in_a_row_is_followed_by_twice_as_many_careful_batches_up_to_a_bound() -> None:
    caution = Caution()
    waits = []
    for _ in range(12):
        waits.append(steps_until_it_dares(caution))
        caution.learn(False)
    assert waits == [0, *(min(STEPS_FIRST * 2**turn, STEPS_MAX) for turn in range(11))]
    assert waits[-1] == STEPS_MAX


def test_one_success_makes_it_bold_again() -> None:
    caution = Caution()
    for _ in range(5):
        steps_until_it_dares(caution)
        caution.learn(False)
    steps_until_it_dares(caution)
    caution.learn(True)
    assert caution.dares()
    caution.learn(False)
    assert steps_until_it_dares(caution) == STEPS_FIRST
