"""Money out of a finalized market: winners claim, the creator withdraws the rest (CI 10.9, Q13)."""

from __future__ import annotations

from chain.ledger.accounts import rent_exempt_lamports
from chain.ledger.zmart import lmsr, rules
from chain.ledger.zmart.anchor import Context, Rule, instruction
from chain.ledger.zmart.records import FINALIZED, Market, Position

WITHDRAW_MARGIN_LAMPORTS = 10_000
"""What `withdraw_liquidity` leaves in the market above its rent."""


def _claim(context: Context) -> None:
    market, position = rules.market_of(context), rules.position_of(context)
    winnings = _winnings(context, market, position)
    context.require(winnings > 0, "NoWinnings")
    resolver_fee = 0 if market.final_outcome is None else market.accumulated_resolver_fees
    owed = lmsr.add(winnings, resolver_fee)
    context.require(context.lamports("market") >= owed, "InsufficientLiquidity")
    context.pay_out("market", "user", winnings)
    if resolver_fee:
        context.pay_out("market", "resolver", resolver_fee)
        market.accumulated_resolver_fees = 0
    position.has_claimed, position.claimed_amount = True, winnings
    _emit_claim(context, market, winnings, resolver_fee)


def _winnings(context: Context, market: Market, position: Position) -> int:
    """A winner's share of the book value, or the money back when there is no outcome; shares stay as they are."""
    if market.final_outcome is None:
        return position.total_invested
    held, outstanding = position.shares_no, market.shares_no
    if market.final_outcome:
        held, outstanding = position.shares_yes, market.shares_yes
    context.require(held > 0, "NoWinnings")
    return lmsr.div(held * market.current_liquidity, outstanding)


def _emit_claim(context: Context, market: Market, winnings: int, resolver_fee: int) -> None:
    user = context.key("user")
    if context.build == "old":
        context.emit("WinningsClaimed", market.market_id, user, winnings, resolver_fee, context.now_s)
    else:
        context.emit("WinningsClaimed", context.key("market"), user, market.final_outcome, winnings, context.now_s)


CLAIM_WINNINGS = instruction(
    "claim_winnings",
    [],
    [
        rules.config(),
        rules.market(rules.in_state("InvalidMarketState", FINALIZED)),
        rules.owned_position((lambda c: not rules.position_of(c).has_claimed, "AlreadyClaimed")),
        rules.signer("user", is_writable=True),
        Rule(
            "resolver",
            is_writable=True,
            checks=((lambda c: c.key("resolver") == rules.market_of(c).resolver, "InvalidResolver"),),
        ),
        rules.SYSTEM,
    ],
    _claim,
)


def _withdraw(context: Context) -> None:
    """Everything above rent and margin, at once and whether or not winners have claimed."""
    market = rules.market_of(context)
    kept = rent_exempt_lamports(Market.ALLOCATED_BYTES) + WITHDRAW_MARGIN_LAMPORTS
    amount = max(0, context.lamports("market") - kept)
    context.require(amount > 0, "InsufficientLiquidity")
    context.pay_out("market", "creator", amount)
    market.current_liquidity = market.accumulated_lp_fees = 0
    context.emit("LiquidityWithdrawn", market.market_id, market.creator, amount, context.now_s)


WITHDRAW_LIQUIDITY = instruction(
    "withdraw_liquidity",
    [],
    [
        rules.market(rules.in_state("InvalidMarketState", FINALIZED)),
        rules.signer(
            "creator", (lambda c: c.key("creator") == rules.market_of(c).creator, "Unauthorized"), is_writable=True
        ),
    ],
    _withdraw,
)
