"""The program's arithmetic against every published number of CI 10, to the last lamport."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chain.ledger.zmart.lmsr import (
    MIN_B,
    U64_MAX,
    FeeSplit,
    MathsError,
    Shares,
    add,
    cost,
    cost_within,
    exp,
    ln,
    max_loss,
    price_yes,
    sale_gross,
    shares_for,
    split_fees,
    sub,
)

E9 = 10**9
SHARES = st.builds(
    Shares,
    yes=st.integers(0, 10**15),
    no=st.integers(0, 10**15),
    b=st.integers(MIN_B, 10**15),
)


def market(yes: float, no: float, b: float) -> Shares:
    return Shares(round(yes * E9), round(no * E9), round(b * E9))


@pytest.mark.parametrize(
    ("shares", "expected"),
    [
        (market(0, 0, 100), 69_314_718_000),
        (market(0, 0, 1000), 693_147_180_000),
        (market(0.1, 0.1, 100), 69_414_718_000),
        (market(15, 10, 1000), 705_510_628_000),
        (market(500, 300, 1000), 1_098_085_718_000),
        (Shares(123_456_789_012, 98_765_432_109, 150 * E9), 215_581_112_400),
        (market(20_000, 0, 1000), 20_437_520_672_000),
    ],
)
def test_the_cost_function_gives_the_published_lamports(shares: Shares, expected: int) -> None:
    assert cost(shares) == expected


@pytest.mark.parametrize(
    ("shares", "expected"),
    [
        (market(0, 0, 100), 500_000_000),
        (market(7, 7, 1000), 500_000_000),
        (market(100, 0, 1000), 524_979_183),
        (market(0, 100, 1000), 475_020_816),
        (market(500, 300, 1000), 549_833_887),
        (market(3464, 0, 1000), 933_012_701),
        (market(20_000, 0, 1000), 645_631_067),
    ],
)
def test_the_price_gives_the_published_lamports(shares: Shares, expected: int) -> None:
    assert price_yes(shares) == expected


@pytest.mark.parametrize(
    ("x", "expected"),
    [
        (0, E9),
        (E9 // 2, 1_648_648_648),
        (E9, 2_714_285_715),
        (2 * E9, 7_000_000_006),
        (3 * E9, 13_000_000_000),
        (3_464_101_615, 13_928_203_246),
        (4 * E9, 13_000_000_012),
        (5 * E9, 9_571_428_576),
        (10 * E9, 3_307_692_307),
        (20 * E9, 1_821_917_808),
    ],
)
def test_exp_has_the_programs_values_and_its_hump(x: int, expected: int) -> None:
    assert exp(x) == expected


@pytest.mark.parametrize(
    ("x", "expected"),
    [
        (E9, 0),
        (1_100_000_000, 95_310_176),
        (1_500_000_000, 405_461_332),
        (1_999_999_999, 693_004_112),
        (2 * E9, 693_147_180),
    ],
)
def test_ln_has_the_programs_values_and_its_jump(x: int, expected: int) -> None:
    assert ln(x) == expected


@pytest.mark.parametrize(
    ("shares", "outcome", "target", "expected"),
    [
        (market(10, 10, 1000), True, 10 * E9, (9_999_786_000, 20_157_694_820)),
        (market(500, 300, 1000), False, 50 * E9, (49_999_776_000, 107_941_627_505)),
        (market(0.1, 0.1, 100), True, 909_090_909, (909_025_800, 1_835_823_062)),
    ],
)
def test_the_search_buys_the_published_shares(
    shares: Shares, outcome: bool, target: int, expected: tuple[int, int]
) -> None:
    assert shares_for(shares, outcome, target) == expected


@pytest.mark.parametrize(
    ("shares", "sold", "expected"),
    [(market(25, 10, 1000), 5 * E9, 2_518_866_000), (market(500, 300, 1000), 100 * E9, 53_777_018_000)],
)
def test_a_sale_brings_the_published_gross(shares: Shares, sold: int, expected: int) -> None:
    assert sale_gross(shares, True, sold) == expected


def test_the_greatest_loss_is_b_times_ln_2() -> None:
    assert (max_loss(100 * E9), max_loss(1000 * E9)) == (69_314_718_000, 693_147_180_000)


@pytest.mark.parametrize(
    ("amount", "expected"),
    [
        (1, (0, 0, 0, 0)),
        (10, (0, 0, 1, 1)),
        (99, (2, 1, 6, 9)),
        (100, (3, 2, 5, 10)),
        (999, (29, 19, 51, 99)),
        (9_999, (299, 199, 501, 999)),
        (12_345, (370, 246, 618, 1_234)),
        (E9, (30_000_000, 20_000_000, 50_000_000, 100_000_000)),
        (909_025_800, (27_270_774, 18_180_516, 45_451_290, 90_902_580)),
    ],
)
def test_fees_split_as_published(amount: int, expected: tuple[int, int, int, int]) -> None:
    assert split_fees(amount, 300, 200, 500) == FeeSplit(*expected)


@pytest.mark.parametrize(
    ("cap", "expected"),
    [
        (5_000_000, (4_317_100, 37_193_300, 129_513, 86_342, 215_855, 4_748_810, 500_092_982)),
        (50_000_000, (45_397_000, 119_209_291, 1_361_910, 907_940, 2_269_850, 49_936_700, 500_298_022)),
        (E9, (909_025_800, 1_835_823_062, 27_270_774, 18_180_516, 45_451_290, 999_928_380, 504_589_428)),
        (
            10 * E9,
            (9_090_452_500, 17_434_120_181, 272_713_575, 181_809_050, 454_522_625, 9_999_497_750, 543_475_181),
        ),
    ],
)
def test_a_full_buy_from_a_fresh_market_is_as_published(cap: int, expected: tuple[int, ...]) -> None:
    fresh = market(0.1, 0.1, 100)
    paid, shares = shares_for(fresh, True, cost_within(cap))
    fees = split_fees(paid, 300, 200, 500)
    price = price_yes(fresh.plus(True, shares))
    assert (paid, shares, fees.protocol, fees.resolver, fees.liquidity_provider, paid + fees.total, price) == expected


@pytest.mark.parametrize(("b", "fails", "works"), [(100, 1_070_000, 1_080_000), (1000, 10_710_000, 10_810_000)])
def test_small_orders_fail_on_a_balanced_market(b: int, fails: int, works: int) -> None:
    fresh = market(b / 1000, b / 1000, b)
    for cap in range(fails // 10, fails + 1, fails // 10):
        with pytest.raises(MathsError, match="UnderflowError"):
            shares_for(fresh, True, cost_within(cap))
    assert shares_for(fresh, True, cost_within(works))[1] > 0


@pytest.mark.parametrize("cap", [10_000, 400_000])
def test_a_tiny_order_on_a_skewed_market_buys_nothing_and_is_no_error(cap: int) -> None:
    assert shares_for(market(30.1, 0.1, 100), True, cost_within(cap)) == (0, 0)


def test_a_market_that_leans_by_more_than_ten_b_takes_no_order_on_that_side() -> None:
    with pytest.raises(MathsError, match="ExponentTooLarge"):
        shares_for(market(1_000.2, 0, 100), True, E9)
    assert shares_for(market(999.9, 0, 100), True, E9)[1] > 0


def test_fees_of_twelve_percent_do_not_fit_the_ten_that_a_buy_reserves() -> None:
    # CI 10.6 gives both sums for a cap of 1,000,000,000; they are those of a market where YES leads by 30.0
    paid = shares_for(market(30, 0, 100), True, cost_within(E9))[0]
    assert paid + split_fees(paid, 400, 300, 500).total == 1_017_958_816
    assert paid + split_fees(paid, 100, 100, 300).total == 954_336_390


@pytest.mark.parametrize(
    ("call", "name"),
    [
        (lambda: cost(market(0, 0, 99.999999999)), "InvalidBParameter"),
        (lambda: price_yes(market(0, 0, 99.999999999)), "InvalidBParameter"),
        (lambda: cost(market(2_000.1, 0, 100)), "ExponentTooLarge"),
        (lambda: exp(20 * E9 + 1), "ExponentTooLarge"),
        (lambda: split_fees(10**9, 0, 0, 0), "DivisionByZero"),
        (lambda: split_fees(U64_MAX // 1000 + 1, 300, 200, 500), "OverflowError"),
        (lambda: shares_for(Shares(0, 0, U64_MAX // 20 + 1), True, E9), "OverflowError"),
        (lambda: add(U64_MAX, 1), "OverflowError"),
        (lambda: sub(1, 2), "UnderflowError"),
        (lambda: market(1, 0, 100).minus(False, 1), "UnderflowError"),
        (lambda: Shares(U64_MAX, 0, MIN_B).plus(True, 1), "OverflowError"),
    ],
)
def test_arithmetic_out_of_range_has_the_programs_error(call: object, name: str) -> None:
    with pytest.raises(MathsError, match=name):
        call()  # type: ignore[operator]


@given(shares=SHARES, outcome=st.booleans(), target=st.integers(0, 10**13))
def test_a_search_never_overshoots_its_target(shares: Shares, outcome: bool, target: int) -> None:
    try:
        paid, _ = shares_for(shares, outcome, target)
    except MathsError as error:
        assert error.name in ("UnderflowError", "ExponentTooLarge")
        return
    assert paid <= target


@given(shares=SHARES)
def test_the_two_prices_never_exceed_the_whole(shares: Shares) -> None:
    mirrored = Shares(shares.no, shares.yes, shares.b)
    try:
        total = price_yes(shares) + price_yes(mirrored)
    except MathsError as error:
        assert error.name == "ExponentTooLarge"
        return
    assert total in (10**9, 10**9 - 1)
