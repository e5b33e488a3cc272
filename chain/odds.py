"""What a market's shares say YES costs, in the program's own integers, faults of its exp included (CI 10.1, 10.3)."""

from __future__ import annotations

PRECISION = 1_000_000_000
EXPONENT_MAX = 20_000_000_000
SHARES_PER_B = 1_000
"""A new market has b / 1000 shares of each side (CI 6.2, 4)."""


def price_yes(shares_yes: int, shares_no: int, b: int) -> int | None:
    """The price of YES with 9 decimals; None where the program refuses to price (`ExponentTooLarge`, b of 0)."""
    if b <= 0:
        return None
    exponent = abs(shares_yes - shares_no) * PRECISION // b
    if exponent > EXPONENT_MAX:
        return None
    ratio = _exp(exponent)
    part = ratio if shares_yes >= shares_no else PRECISION
    return part * PRECISION // (ratio + PRECISION)


def _exp(x: int) -> int:
    twelfth, half = x * x // PRECISION // 12, x // 2
    return (PRECISION + half + twelfth) * PRECISION // (PRECISION + twelfth - half)
