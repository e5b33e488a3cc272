"""Buying and selling shares (CI 10.6 and 10.8)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from chain.ledger.borsh import BOOL, U64
from chain.ledger.zmart import lmsr, rules
from chain.ledger.zmart.anchor import Context, Instruction, instruction
from chain.ledger.zmart.lmsr import FeeSplit, Shares, add, sub
from chain.ledger.zmart.records import ACTIVE, GlobalConfig, Market, Position

SellMode = Literal["intended", "faithful"]
TRADE_LAMPORTS_MIN = 10_000


def _shares(market: Market) -> Shares:
    return Shares(market.shares_yes, market.shares_no, market.b_parameter)


def _fees(config: GlobalConfig, amount: int) -> FeeSplit:
    return lmsr.split_fees(
        amount, config.protocol_fee_bps, config.resolver_reward_bps, config.liquidity_provider_fee_bps
    )


def _book(market: Market, after: Shares, volume: int, fees: FeeSplit) -> None:
    """What a trade of either kind leaves in the market."""
    market.shares_yes, market.shares_no = after.yes, after.no
    market.total_volume = add(market.total_volume, volume)
    market.accumulated_resolver_fees = add(market.accumulated_resolver_fees, fees.resolver)
    market.accumulated_lp_fees = add(market.accumulated_lp_fees, fees.liquidity_provider)


def _count_trade(position: Position, now_s: int) -> None:
    position.trades_count = add(position.trades_count, 1, lmsr.U32_MAX)
    position.last_trade_at = now_s


def _buy(context: Context) -> None:
    """Spend at most `target_cost`, fees included; may buy nothing and still succeed (CI 10.6)."""
    outcome, cap = context.args
    config, market, position = rules.config_of(context), rules.market_of(context), rules.position_of(context)
    context.require(not config.is_paused, "ProtocolPaused")
    context.require(cap >= TRADE_LAMPORTS_MIN, "TradeTooSmall")
    before = _shares(market)
    cost, shares = lmsr.shares_for(before, outcome, lmsr.cost_within(cap))
    fees = _fees(config, cost)
    total = add(cost, fees.total)
    context.require(total <= cap, "SlippageExceeded")
    context.transfer("user", "market", total - fees.protocol)
    context.transfer("user", "protocol_fee_wallet", fees.protocol)
    after = before.plus(outcome, shares)
    _book(market, after, total, fees)
    market.current_liquidity = add(market.current_liquidity, fees.resolver + fees.liquidity_provider)
    _hold(context, position, outcome, shares)
    position.total_invested = add(position.total_invested, total)
    price = lmsr.price_yes(after)
    context.emit("SharesBought", market.market_id, position.user, outcome, shares, total, price, context.now_s)


def _hold(context: Context, position: Position, outcome: bool, shares: int) -> None:
    position.market, position.user = context.key("market"), context.key("user")
    position.bump = context.bump("position")
    if outcome:
        position.shares_yes = add(position.shares_yes, shares)
    else:
        position.shares_no = add(position.shares_no, shares)
    _count_trade(position, context.now_s)


BUY_SHARES = instruction(
    "buy_shares",
    [BOOL, U64],
    [
        rules.config(),
        rules.market(rules.in_state("InvalidMarketState", ACTIVE)),
        rules.position(payer="user"),
        rules.signer("user", is_writable=True),
        rules.protocol_fee_wallet(),
        rules.SYSTEM,
    ],
    _buy,
)


Payment = Callable[[Context, int, int], None]
"""How the proceeds leave the market: (context, lamports to the user, lamports of protocol fee)."""


def _pay_as_intended(context: Context, net: int, protocol: int) -> None:
    context.pay_out("market", "user", net)
    context.pay_out("market", "protocol_fee_wallet", protocol)


def _pay_as_written(context: Context, net: int, _protocol: int) -> None:
    """The program asks System to take lamports from a market that signs nothing: the runtime refuses it (CI 6.2)."""
    context.transfer("market", "user", net)


def sell_shares(mode: SellMode) -> Instruction:
    """`faithful` always fails in the end, as on a cluster; `intended` does what the source means (CI 10.8)."""
    pay = _pay_as_intended if mode == "intended" else _pay_as_written
    return instruction(
        "sell_shares",
        [BOOL, U64, U64],
        [
            rules.config(),
            rules.market(rules.in_state("InvalidMarketState", ACTIVE)),
            rules.owned_position(),
            rules.signer("user", is_writable=True),
            rules.protocol_fee_wallet(),
            rules.SYSTEM,
        ],
        lambda context: _sell(context, pay),
    )


def _sell(context: Context, pay: Payment) -> None:
    outcome, shares, least = context.args
    market, position = rules.market_of(context), rules.position_of(context)
    context.require(not rules.config_of(context).is_paused, "ProtocolPaused")
    held = position.shares_yes if outcome else position.shares_no
    context.require(held >= shares, "InsufficientShares")
    gross = lmsr.sale_gross(_shares(market), outcome, shares)
    context.require(gross >= TRADE_LAMPORTS_MIN, "TradeTooSmall")
    fees = _fees(rules.config_of(context), gross)
    net = sub(gross, fees.total)
    context.require(net >= least, "SlippageExceeded")
    context.require(market.current_liquidity >= net + fees.protocol, "InsufficientLiquidity")
    pay(context, net, fees.protocol)
    after = _shares(market).minus(outcome, shares)
    _book(market, after, gross, fees)
    market.current_liquidity = sub(market.current_liquidity, net + fees.protocol)
    _release(position, outcome, shares)
    _count_trade(position, context.now_s)
    price = lmsr.price_yes(after)
    context.emit("SharesSold", market.market_id, position.user, outcome, shares, net, price, context.now_s)


def _release(position: Position, outcome: bool, shares: int) -> None:
    if outcome:
        position.shares_yes = sub(position.shares_yes, shares)
    else:
        position.shares_no = sub(position.shares_no, shares)
