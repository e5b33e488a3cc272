"""Buying, selling, claiming, withdrawing on the ledger, to the last lamport (CI 10.6 to 10.10)."""

import pytest
from solders.instruction import AccountMeta, Instruction
from solders.keypair import Keypair

from chain.events import LiquidityWithdrawn, OldWinningsClaimed, SharesBought, SharesSold, WinningsClaimed
from chain.ledger.accounts import rent_exempt_lamports
from chain.ledger.bank import Receipt
from chain.ledger.zmart.lmsr import Shares, price_yes, sale_gross, split_fees
from domain.ids import Wallet
from tests.support.stage import DISPUTE_PERIOD_S, MARKET, SOL, MakeStage, Stage, wallet

RENT = rent_exempt_lamports(488)
FEE = 5_000


@pytest.fixture
def trading(make_stage: MakeStage) -> Stage:
    stage = make_stage()
    stage.activate()
    return stage


@pytest.fixture
def bought(trading: Stage) -> Stage:
    """The market of the sequence vector, after its three purchases."""
    trading.buy(trading.alice, True, SOL)
    trading.buy(trading.bob, False, SOL // 2)
    trading.buy(trading.alice, True, SOL // 4)
    return trading


def test_three_purchases_leave_the_published_numbers(trading: Stage) -> None:
    alice, bob, at_s = wallet(trading.alice), wallet(trading.bob), trading.second
    assert [
        trading.buy(trading.alice, True, SOL),
        trading.buy(trading.bob, False, SOL // 2),
        trading.buy(trading.alice, True, SOL // 4),
    ] == [
        SharesBought(MARKET, alice, True, 1_835_823_062, 999_928_380, 504_589_428, at_s),
        SharesBought(MARKET, bob, False, 916_481_020, 499_942_740, 502_298_338, at_s),
        SharesBought(MARKET, alice, True, 451_087_954, 249_841_900, 503_426_020, at_s),
    ]
    market, position = trading.market, trading.position(trading.alice)
    assert (market.shares_yes, market.shares_no) == (2_386_911_016, 1_016_481_020)
    assert (market.current_liquidity, market.total_volume) == (211_345_374, 1_749_713_020)
    assert (market.accumulated_resolver_fees, market.accumulated_lp_fees) == (31_812_964, 79_532_410)
    assert market.accumulated_protocol_fees == 0
    assert trading.lamports(trading.pda) - RENT == 1_701_993_574
    assert (position.shares_yes, position.shares_no) == (2_286_911_016, 0)
    assert (position.total_invested, position.trades_count, position.last_trade_at) == (1_249_770_280, 2, at_s)


def test_a_purchase_moves_exactly_its_lamports_and_creates_the_position_once(trading: Stage) -> None:
    alice, fees = trading.alice.pubkey(), trading.fees.pubkey()
    before, fees_before = trading.lamports(alice), trading.lamports(fees)
    trading.buy(trading.alice, True, SOL)
    address, bump = trading.program.position_address(trading.pda, wallet(trading.alice))
    assert (len(trading.data(address)), trading.lamports(address)) == (182, 2_157_600)
    assert before - trading.lamports(alice) == 999_928_380 + 2_157_600 + FEE
    assert trading.lamports(fees) - fees_before == 27_270_774
    assert trading.lamports(trading.pda) - RENT == 999_928_380 - 27_270_774
    record = trading.position(trading.alice)
    assert (record.market, record.user, record.bump) == (bytes(trading.pda), bytes(alice), bump)
    before = trading.lamports(alice)
    event = trading.buy(trading.alice, True, SOL // 4)
    assert isinstance(event, SharesBought)
    assert before - trading.lamports(alice) == event.cost + FEE


def test_a_purchases_log_shows_its_calls_of_the_system_program(trading: Stage) -> None:
    receipt = trading.send(trading.buying(trading.alice, True, SOL), trading.alice)
    assert isinstance(receipt, Receipt)
    system = "Program 11111111111111111111111111111111"
    assert receipt.outcome.logs[:8] == (
        f"Program {trading.program.program_id} invoke [1]",
        "Program log: Instruction: BuyShares",
        *[f"{system} invoke [2]", f"{system} success"] * 3,
    )
    assert receipt.outcome.logs[8].startswith("Program data: 8GJFCv3q4kE")


@pytest.mark.parametrize(
    ("cap", "refusal"),
    [(9_999, "TradeTooSmall"), (10_000, "UnderflowError"), (1_000_000, "UnderflowError"), (0, "TradeTooSmall")],
)
def test_small_orders_are_refused_on_a_fresh_market(trading: Stage, cap: int, refusal: str) -> None:
    assert trading.refused(trading.buying(trading.alice, True, cap), trading.alice) == refusal


@pytest.mark.parametrize("cap", [10_000, 400_000])
def test_a_purchase_of_nothing_succeeds_on_a_skewed_market(trading: Stage, cap: int) -> None:
    trading.buy(trading.bob, True, 20 * SOL)
    event = trading.buy(trading.alice, True, cap)
    assert isinstance(event, SharesBought)
    assert (event.shares, event.cost) == (0, 0)
    assert (trading.position(trading.alice).trades_count, trading.position(trading.alice).total_invested) == (1, 0)


@pytest.mark.parametrize(("fees", "refusal"), [((0, 0, 0), "DivisionByZero"), ((400, 300, 500), "SlippageExceeded")])
def test_fees_that_do_not_fit_ten_percent_stop_trading(
    trading: Stage, fees: tuple[int, int, int], refusal: str
) -> None:
    trading.buy(trading.alice, True, SOL)
    names = ("protocol_fee_bps", "resolver_reward_bps", "liquidity_provider_fee_bps")
    trading.configure(**dict(zip(names, fees, strict=True)))
    assert trading.refused(trading.buying(trading.alice, True, SOL), trading.alice) == refusal


def test_a_market_with_too_small_a_depth_is_created_and_never_trades(make_stage: MakeStage) -> None:
    stage = make_stage()
    stage.activate(b=100 * SOL - 1)
    assert stage.refused(stage.buying(stage.alice, True, SOL), stage.alice) == "InvalidBParameter"


def test_a_buyer_without_money_is_refused_by_the_system_program(trading: Stage) -> None:
    name, json = trading.failure(trading.buying(trading.alice, True, 2_000 * SOL), trading.alice)
    assert (name, json) == ("ResultWithNegativeLamports", {"InstructionError": [0, {"Custom": 1}]})


def test_another_fee_wallet_than_the_configs_is_refused(trading: Stage) -> None:
    program, alice, bob = trading.program, wallet(trading.alice), wallet(trading.bob)
    call = program.buy_shares(alice, MARKET, True, SOL, bob)
    assert trading.refused(call, trading.alice) == "Unauthorized"


def test_somebody_elses_position_is_refused_by_its_seeds(bought: Stage) -> None:
    call = bought.selling(bought.alice, True, SOL)
    metas = list(call.accounts)
    metas[2] = bought.selling(bought.bob, True, SOL).accounts[2]
    stolen = Instruction(call.program_id, bytes(call.data), metas)
    assert bought.refused(stolen, bought.alice) == "ConstraintSeeds"


def test_a_market_that_does_not_trade_refuses_orders(make_stage: MakeStage) -> None:
    stage = make_stage()
    stage.create()
    assert stage.refused(stage.buying(stage.alice, True, SOL), stage.alice) == "InvalidMarketState"
    stage.approve()
    assert stage.refused(stage.buying(stage.alice, True, SOL), stage.alice) == "InvalidMarketState"


def test_a_read_only_market_is_refused(trading: Stage) -> None:
    call = trading.buying(trading.alice, True, SOL)
    metas = list(call.accounts)
    metas[1] = AccountMeta(metas[1].pubkey, is_signer=False, is_writable=False)
    locked = Instruction(call.program_id, bytes(call.data), metas)
    assert trading.refused(locked, trading.alice) == "ConstraintMut"


def test_a_sale_as_intended_pays_its_gross_less_fees(bought: Stage) -> None:
    before, seller = bought.market, bought.lamports(bought.alice.pubkey())
    held, fees_held = bought.lamports(bought.pda), bought.lamports(bought.fees.pubkey())
    shares = 300_000_000
    gross = sale_gross(Shares(before.shares_yes, before.shares_no, before.b_parameter), True, shares)
    fees = split_fees(gross, 300, 200, 500)
    net = gross - fees.total
    (event,) = bought.land(bought.selling(bought.alice, True, shares, net), bought.alice)
    price = price_yes(Shares(before.shares_yes - shares, before.shares_no, before.b_parameter))
    assert event == SharesSold(MARKET, wallet(bought.alice), True, shares, net, price, bought.second)
    after, position = bought.market, bought.position(bought.alice)
    assert after.shares_yes == before.shares_yes - shares
    assert after.total_volume == before.total_volume + gross
    assert after.current_liquidity == before.current_liquidity - net - fees.protocol
    assert after.accumulated_resolver_fees == before.accumulated_resolver_fees + fees.resolver
    assert after.accumulated_lp_fees == before.accumulated_lp_fees + fees.liquidity_provider
    assert bought.lamports(bought.alice.pubkey()) == seller + net - FEE
    assert bought.lamports(bought.fees.pubkey()) == fees_held + fees.protocol
    assert bought.lamports(bought.pda) == held - net - fees.protocol
    assert (position.shares_yes, position.total_invested) == (2_286_911_016 - shares, 1_249_770_280)
    assert position.trades_count == 3


def test_a_sale_as_the_program_is_written_is_refused_by_the_runtime(make_stage: MakeStage) -> None:
    stage = make_stage(sell_mode="faithful")
    stage.activate()
    stage.buy(stage.alice, True, SOL)
    call = stage.selling(stage.alice, True, 100_000_000)
    assert stage.refused(call, stage.alice) == "PrivilegeEscalation"
    receipt = stage.send(call, stage.alice)
    assert isinstance(receipt, Receipt)
    assert f"{stage.pda}'s signer privilege escalated" in receipt.outcome.logs
    assert receipt.outcome.logs[-1].endswith(
        "failed: Cross-program invocation with unauthorized signer or writable account"
    )
    assert stage.refused(stage.selling(stage.alice, True, 10 * SOL), stage.alice) == "InsufficientShares"


@pytest.mark.parametrize(
    ("shares", "least", "refusal"),
    [
        (2_286_911_017, 0, "InsufficientShares"),
        (0, 0, "TradeTooSmall"),
        (1_000, 0, "TradeTooSmall"),
        (300_000_000, 200_000_000, "SlippageExceeded"),
        (1_000_000_000, 0, "InsufficientLiquidity"),
    ],
)
def test_a_sale_is_refused_by_name(bought: Stage, shares: int, least: int, refusal: str) -> None:
    assert bought.refused(bought.selling(bought.alice, True, shares, least), bought.alice) == refusal


def test_who_has_no_position_sells_nothing(bought: Stage) -> None:
    assert bought.refused(bought.selling(bought.creator, True, SOL), bought.creator) == "AccountNotInitialized"


def test_the_winner_of_yes_gets_the_published_share_and_pays_the_resolver(bought: Stage) -> None:
    bought.finalize(True)
    before, resolver = bought.lamports(bought.alice.pubkey()), bought.lamports(bought.resolver.pubkey())
    (event,) = bought.land(bought.claiming(bought.alice), bought.alice)
    address = Wallet(str(bought.pda))
    assert event == WinningsClaimed(address, wallet(bought.alice), True, 202_491_027, bought.second)
    assert bought.lamports(bought.alice.pubkey()) - before == 202_491_027 - FEE
    assert bought.lamports(bought.resolver.pubkey()) - resolver == 31_812_964
    position, market = bought.position(bought.alice), bought.market
    assert (position.has_claimed, position.claimed_amount, position.shares_yes) == (True, 202_491_027, 2_286_911_016)
    assert (market.accumulated_resolver_fees, market.current_liquidity) == (0, 211_345_374)
    assert bought.refused(bought.claiming(bought.alice), bought.alice) == "AlreadyClaimed"
    assert bought.refused(bought.claiming(bought.bob), bought.bob) == "NoWinnings"


def test_the_winner_of_no_gets_the_published_share(bought: Stage) -> None:
    bought.finalize(False)
    (event,) = bought.land(bought.claiming(bought.bob), bought.bob)
    assert isinstance(event, WinningsClaimed)
    assert (event.outcome, event.amount) == (False, 190_553_507)


def test_without_outcome_the_first_gets_the_money_back_and_the_second_finds_too_little(bought: Stage) -> None:
    bought.finalize(None)
    resolver = bought.lamports(bought.resolver.pubkey())
    (event,) = bought.land(bought.claiming(bought.alice), bought.alice)
    assert isinstance(event, WinningsClaimed)
    assert (event.outcome, event.amount) == (None, 1_249_770_280)
    assert bought.lamports(bought.resolver.pubkey()) == resolver
    assert bought.refused(bought.claiming(bought.bob), bought.bob) == "InsufficientLiquidity"


def test_liquidity_that_was_never_paid_in_stops_every_claim(make_stage: MakeStage) -> None:
    stage = make_stage()
    stage.activate(liquidity=10 * SOL)
    stage.buy(stage.alice, True, SOL // 2)
    stage.finalize(True)
    assert stage.refused(stage.claiming(stage.alice), stage.alice) == "InsufficientLiquidity"


def test_a_claim_may_not_eat_the_markets_rent(trading: Stage) -> None:
    trading.buy(trading.alice, True, 50_000_000)
    trading.finalize(None)
    assert trading.refused(trading.claiming(trading.alice), trading.alice) == "WouldBreakRentExemption"


def test_a_claim_names_the_markets_own_resolver(bought: Stage) -> None:
    bought.finalize(True)
    call = bought.program.claim_winnings(wallet(bought.alice), MARKET, wallet(bought.bob))
    assert bought.refused(call, bought.alice) == "InvalidResolver"


def test_a_market_that_is_not_final_pays_nobody(bought: Stage) -> None:
    assert bought.refused(bought.claiming(bought.alice), bought.alice) == "InvalidMarketState"
    assert bought.refused(bought.withdrawing(), bought.creator) == "InvalidMarketState"


def test_a_purchase_of_nothing_wins_nothing(bought: Stage) -> None:
    bought.buy(bought.creator, True, 10_000)
    bought.finalize(True)
    assert bought.position(bought.creator).shares_yes == 0
    assert bought.refused(bought.claiming(bought.creator), bought.creator) == "NoWinnings"


def test_the_creator_takes_all_above_rent_and_margin_and_winners_find_nothing(bought: Stage) -> None:
    bought.finalize(True)
    before = bought.lamports(bought.creator.pubkey())
    (event,) = bought.land(bought.withdrawing(), bought.creator)
    amount = 1_701_993_574 - 10_000
    assert event == LiquidityWithdrawn(MARKET, wallet(bought.creator), amount, bought.second)
    assert bought.lamports(bought.creator.pubkey()) - before == amount - FEE
    assert bought.lamports(bought.pda) == RENT + 10_000
    assert (bought.market.current_liquidity, bought.market.accumulated_lp_fees) == (0, 0)
    assert bought.market.accumulated_resolver_fees == 31_812_964
    assert bought.refused(bought.claiming(bought.alice), bought.alice) == "NoWinnings"
    assert bought.refused(bought.withdrawing(), bought.creator) == "InsufficientLiquidity"


def test_only_the_creator_withdraws(bought: Stage) -> None:
    bought.finalize(True)
    call = bought.program.withdraw_liquidity(wallet(bought.alice), MARKET)
    assert bought.refused(call, bought.alice) == "Unauthorized"


def test_the_older_build_has_its_own_claim_event_and_numbers(make_stage: MakeStage) -> None:
    stage = make_stage(build="old")
    stage.activate()
    stage.buy(stage.alice, True, SOL)
    stage.buy(stage.bob, False, SOL // 2)
    assert stage.failure(stage.claiming(stage.alice), stage.alice) == (
        "InvalidMarketState",
        {"InstructionError": [0, {"Custom": 6006}]},
    )
    stage.resolve()
    stage.later(DISPUTE_PERIOD_S)
    stage.land(stage.finalizing(), stage.backend)
    resolver_fee = stage.market.accumulated_resolver_fees
    (event,) = stage.land(stage.claiming(stage.alice), stage.alice)
    amount = stage.position(stage.alice).claimed_amount
    assert event == OldWinningsClaimed(MARKET, wallet(stage.alice), amount, resolver_fee, stage.second)
    assert resolver_fee > 0


def test_resolver_and_winner_may_be_the_same_wallet(trading: Stage) -> None:
    trading.buy(trading.resolver, True, SOL)
    trading.finalize(True)
    owed = trading.market.accumulated_resolver_fees
    before = trading.lamports(trading.resolver.pubkey())
    (event,) = trading.land(trading.claiming(trading.resolver), trading.resolver)
    assert isinstance(event, WinningsClaimed)
    assert trading.lamports(trading.resolver.pubkey()) - before == event.amount + owed - FEE


def test_no_lamport_appears_or_vanishes(bought: Stage) -> None:
    def total() -> int:
        pairs: list[Keypair] = [bought.alice, bought.bob, bought.creator, bought.resolver, bought.fees, bought.backend]
        positions = [bought.program.position_address(bought.pda, wallet(p))[0] for p in (bought.alice, bought.bob)]
        return sum(bought.lamports(key) for key in (*(p.pubkey() for p in pairs), *positions, bought.pda))

    before = total()
    bought.land(bought.selling(bought.alice, True, 300_000_000), bought.alice)
    bought.finalize(True)
    bought.land(bought.claiming(bought.alice), bought.alice)
    bought.land(bought.withdrawing(), bought.creator)
    # five transactions, one signature each: sell, resolve, finalize, claim, withdraw
    assert before - total() == 5 * FEE
