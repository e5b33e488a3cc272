"""Weights of any size as two u32 with the same verdict (T7, CI D6)."""

import random

import pytest

from domain.rescale import U32_MAX, fit_u32

CASES = 250_000


def verdict(yes: int, no: int, threshold_bps: int) -> bool:
    """As the program computes it."""
    return yes * 10_000 // (yes + no) >= threshold_bps


def weights(dice: random.Random, threshold_bps: int) -> tuple[int, int]:
    """Two weights of any size; every second pair lies within a few units of the threshold."""
    total = dice.randrange(1, 1 << dice.randrange(1, 90))
    yes = dice.randrange(total + 1)
    if dice.random() < 0.5:
        edge = threshold_bps * total // 10_000 + dice.randrange(-2, 3)
        yes = min(max(edge, 0), total)
    return yes, total - yes


def test_the_verdict_never_changes_and_the_pair_fits_and_is_off_by_one_at_most() -> None:
    dice = random.Random(4)
    nudged = scaled = 0
    for _ in range(CASES):
        threshold_bps = dice.choice((6_000, 7_000, 5_750, 0, 10_000, dice.randrange(10_001)))
        yes, no = weights(dice, threshold_bps)
        agree, disagree = fit_u32(yes, no, threshold_bps)
        assert 0 < agree + disagree <= U32_MAX and min(agree, disagree) >= 0
        assert verdict(agree, disagree, threshold_bps) is verdict(yes, no, threshold_bps), (yes, no, threshold_bps)
        if yes + no <= U32_MAX:
            assert (agree, disagree) == (yes, no)
            continue
        scaled += 1
        shift = agree - yes * U32_MAX // (yes + no)
        assert agree + disagree == U32_MAX and abs(shift) <= 1, (yes, no, threshold_bps)
        nudged += shift != 0
    assert scaled > CASES // 2
    assert nudged > 1_000, "the cases hardly met the edge"


@pytest.mark.parametrize(
    ("yes", "no", "pair"),
    [
        (6, 4, (6, 4)),
        (U32_MAX, 0, (U32_MAX, 0)),
        (U32_MAX - 1, 1, (U32_MAX - 1, 1)),
        (U32_MAX, 1, (U32_MAX - 1, 1)),
        (2**64 - 1, 0, (U32_MAX, 0)),
        (0, 2**64 - 1, (0, U32_MAX)),
        (6 * 10**15, 4 * 10**15, (2_576_980_377, 1_717_986_918)),
    ],
)
def test_what_fits_stays_and_what_does_not_is_scaled_to_the_largest_sum(
    yes: int, no: int, pair: tuple[int, int]
) -> None:
    assert fit_u32(yes, no, 6_000) == pair


def test_no_votes_are_not_a_pair() -> None:
    with pytest.raises(AssertionError):
        fit_u32(0, 0, 6_000)
