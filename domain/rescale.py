"""Two weights of any size as the pair of u32 that the program takes, with the same verdict (T7, CI D6)."""

from __future__ import annotations

from domain.tally import Tally

U32_MAX = 2**32 - 1


def fit_u32(yes: int, no: int, threshold_bps: int) -> tuple[int, int]:
    """`yes` and `no` unchanged where their sum fits, else scaled so that they sum to 2^32-1.

    Guarantee: floor(yes * 10000 / total) reaches the threshold after scaling exactly when it did before. Rounding down
    can only ever take a passing share below the threshold, and then by less than one unit, so one unit mends it.
    """
    total = yes + no
    assert total > 0 and min(yes, no) >= 0, f"no tally to scale: {yes}, {no}"
    if total <= U32_MAX:
        return yes, no
    scaled = yes * U32_MAX // total
    has_passed, passes = (Tally(*pair).meets(threshold_bps) for pair in ((yes, no), (scaled, U32_MAX - scaled)))
    scaled += has_passed - passes
    return scaled, U32_MAX - scaled
