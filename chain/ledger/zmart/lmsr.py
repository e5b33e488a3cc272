"""zmart_core's pricing in 9-decimal integers (CI 10): a market scoring rule over an approximate exp and ln.

The approximations are the program's own, faults included: exp peaks at 3.4641, ln jumps where both sides are equal.
Every number is non-negative; a result beyond u64, or below zero, raises `MathsError` with the program's error name.
"""

from __future__ import annotations

from dataclasses import dataclass

PRECISION = 1_000_000_000
LN_2 = 693_147_180
MAX_EXP = 20_000_000_000
MIN_B = 100_000_000_000
BPS = 10_000
U32_MAX = 2**32 - 1
U64_MAX = 2**64 - 1
I64_MAX = 2**63 - 1

SEARCH_PROBES_MAX = 50
SEARCH_SHARES = 1_000_000
"""The search stops once it knows the shares to a thousandth of one."""
BUY_FEE_DIVISOR = 11_000
"""`buy_shares` assumes 10 % fees whatever GlobalConfig says (CI 10.6)."""


class MathsError(Exception):
    """Arithmetic the program refuses; `name` is its error's name."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.name = name


@dataclass(frozen=True, slots=True)
class FeeSplit:
    """What a trade pays on top of its cost, or out of its proceeds, in lamports."""

    protocol: int
    resolver: int
    liquidity_provider: int
    total: int


@dataclass(frozen=True, slots=True)
class Shares:
    """A market's outstanding shares and its depth `b`, all with 9 decimals."""

    yes: int
    no: int
    b: int

    def plus(self, outcome: bool, shares: int) -> Shares:
        """The market after somebody bought `shares` of a side."""
        if outcome:
            return Shares(add(self.yes, shares), self.no, self.b)
        return Shares(self.yes, add(self.no, shares), self.b)

    def minus(self, outcome: bool, shares: int) -> Shares:
        """The market after somebody sold `shares` of a side."""
        if outcome:
            return Shares(sub(self.yes, shares), self.no, self.b)
        return Shares(self.yes, sub(self.no, shares), self.b)


def add(left: int, right: int, largest: int = U64_MAX) -> int:
    """A checked sum."""
    if left + right > largest:
        raise MathsError("OverflowError")
    return left + right


def sub(left: int, right: int) -> int:
    """A checked difference."""
    if left < right:
        raise MathsError("UnderflowError")
    return left - right


def div(left: int, right: int) -> int:
    """The floor of a 128-bit quotient that must fit u64."""
    if not right:
        raise MathsError("DivisionByZero")
    return add(left // right, 0)


def exp(x: int) -> int:
    """e^x as the program has it: a Pade(2,2) ratio, near the truth for small x only (CI 10.1)."""
    if x > MAX_EXP:
        raise MathsError("ExponentTooLarge")
    twelfth, half = x * x // PRECISION // 12, x // 2
    return (PRECISION + half + twelfth) * PRECISION // (PRECISION + twelfth - half)


def ln(x: int) -> int:
    """The natural logarithm of `x` from 1.0 to 2.0, the only range that pricing asks for (CI 10.2)."""
    doublings = 0
    while x >= 2 * PRECISION:
        x, doublings = x // 2, doublings + 1
    y = (x - PRECISION) * PRECISION // (x + PRECISION)
    y2 = y * y // PRECISION
    y3 = y2 * y // PRECISION
    y5 = y3 * y2 // PRECISION
    return 2 * (y + y3 // 3 + y5 // 5) + doublings * LN_2


def cost(market: Shares) -> int:
    """The cost function in lamports; raises `InvalidBParameter` below b = 100.0."""
    return _cost(market.yes, market.no, market.b)


def _cost(yes: int, no: int, b: int) -> int:
    if b < MIN_B:
        raise MathsError("InvalidBParameter")
    x, y = yes * PRECISION // b, no * PRECISION // b
    distance = PRECISION * PRECISION // exp(abs(x - y))
    return add(b * (max(x, y) + ln(PRECISION + distance)) // PRECISION, 0)


def price_yes(market: Shares) -> int:
    """The price of one YES share, in lamports; that of NO is the rest to 1.0."""
    if market.b < MIN_B:
        raise MathsError("InvalidBParameter")
    ratio = exp(div(abs(market.yes - market.no) * PRECISION, market.b))
    return div((ratio if market.yes >= market.no else PRECISION) * PRECISION, ratio + PRECISION)


def max_loss(b: int) -> int:
    """What the market maker can lose at most."""
    return b * LN_2 // PRECISION


def shares_for(market: Shares, outcome: bool, target: int) -> tuple[int, int]:
    """(cost, shares) of what `target` lamports buy: a binary search that never overshoots (CI 10.4)."""
    yes, no, b = market.yes, market.no, market.b
    low, high, start = 0, add(20 * b, 0), _cost(yes, no, b)
    for _ in range(SEARCH_PROBES_MAX):
        if high - low <= SEARCH_SHARES:
            break
        middle = low + (high - low) // 2
        # one purchase probes 20 times and more: no object for each of them
        probed = _cost(add(yes, middle), no, b) if outcome else _cost(yes, add(no, middle), b)
        asked = sub(probed, start)
        if asked == target:
            low = middle
            break
        if asked < target:
            low = middle + 1
        else:
            high = middle
    return sub(cost(market.plus(outcome, low)), start), low


def cost_within(cap: int) -> int:
    """The part of an all-in `cap` that the search may spend on shares."""
    return cap * BPS // BUY_FEE_DIVISOR


def sale_gross(market: Shares, outcome: bool, shares: int) -> int:
    """What selling `shares` brings before fees."""
    return sub(cost(market), cost(market.minus(outcome, shares)))


def split_fees(amount: int, protocol_bps: int, resolver_bps: int, liquidity_provider_bps: int) -> FeeSplit:
    """Fees on `amount` lamports; the liquidity provider gets what flooring leaves (CI 10.6)."""
    bps = protocol_bps + resolver_bps + liquidity_provider_bps
    total = add(amount * bps, 0) // BPS
    protocol, resolver = div(total * protocol_bps, bps), div(total * resolver_bps, bps)
    return FeeSplit(protocol, resolver, total - protocol - resolver, total)
