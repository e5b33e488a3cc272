"""What a transaction pays: a tenth more units than it used, the usual price, never more than the cap."""

import pytest
from solders.errors import SerdeJSONError
from solders.rpc.errors import MethodNotFoundMessage

from chain.fees import UNITS_MAX, Fee, FeeSettings, fee_for
from chain.prices import RecentPrioritizationFees

SETTINGS = FeeSettings(priority_lamports_max=1_000)


@pytest.mark.parametrize(("used", "units"), [(20_000, 22_000), (1, 2), (None, 220_000), (1_399_999, UNITS_MAX)])
def test_the_limit_is_a_tenth_more_than_was_used(used: int | None, units: int) -> None:
    assert fee_for(used, (), SETTINGS) == Fee(units, 0)


@pytest.mark.parametrize(("prices", "price"), [((), 0), ((0, 0, 0), 0), ((7,), 7), ((4, 1, 3, 2, 5), 4)])
def test_the_price_is_what_three_quarters_of_blocks_took(prices: tuple[int, ...], price: int) -> None:
    assert fee_for(20_000, prices, SETTINGS).price_micro_lamports == price


def test_the_cap_holds_whatever_blocks_ask_for() -> None:
    fee = fee_for(20_000, (10**12,), SETTINGS)
    assert 5_990 <= fee.lamports <= 6_000
    assert fee_for(20_000, (10**12,), FeeSettings(priority_lamports_max=0)).lamports == 5_000


def test_a_fee_is_rounded_up_as_the_runtime_does() -> None:
    assert Fee(22_000, 1).lamports == 5_001


def test_prices_are_read_from_a_nodes_answer() -> None:
    answer = '{"jsonrpc":"2.0","id":0,"result":[{"slot":1,"prioritizationFee":5},{"slot":2,"prioritizationFee":0}]}'
    assert RecentPrioritizationFees.from_json(answer).prices == (5, 0)
    refusal = '{"jsonrpc":"2.0","id":0,"error":{"code":-32601,"message":"Method not found"}}'
    assert isinstance(RecentPrioritizationFees.from_json(refusal), MethodNotFoundMessage)


@pytest.mark.parametrize("text", ["<html>", "[]", '{"result":[{"slot":1}]}', '{"result":null}', '{"id":0}'])
def test_anything_else_is_no_answer(text: str) -> None:
    with pytest.raises(SerdeJSONError):
        RecentPrioritizationFees.from_json(text)
