"""The account rules zmart_core's instructions share (CI 3 and 6.1)."""

from __future__ import annotations

from chain.ledger.accounts import SYSTEM_PROGRAM
from chain.ledger.zmart.anchor import Check, Context, Rule
from chain.ledger.zmart.records import GlobalConfig, Market, Position

SYSTEM = Rule("system_program", program=SYSTEM_PROGRAM)


def config_of(context: Context) -> GlobalConfig:
    """The GlobalConfig the instruction was given."""
    return context.record("global_config", GlobalConfig)


def market_of(context: Context) -> Market:
    """The market the instruction was given."""
    return context.record("market", Market)


def position_of(context: Context) -> Position:
    """The position the instruction was given."""
    return context.record("position", Position)


def config(is_writable: bool = False) -> Rule:
    """GlobalConfig at seed `global-config`, hyphen."""
    return Rule("global_config", is_writable=is_writable, record=GlobalConfig, seeds=lambda _: (b"global-config",))


def market(*checks: Check, is_writable: bool = True) -> Rule:
    """A market at the address of its own market_id."""
    return Rule(
        "market",
        is_writable=is_writable,
        record=Market,
        seeds=lambda context: (b"market", market_of(context).market_id),
        checks=checks,
    )


def in_state(error: str, *states: int) -> Check:
    """The market must be in one of `states`; the program checks this as a constraint, before any handler."""
    return (lambda context: market_of(context).state in states), error


def position(*checks: Check, payer: str | None = None) -> Rule:
    """The user's position in the market; with a `payer` it is created when it is not there."""
    return Rule(
        "position",
        is_writable=True,
        record=Position,
        seeds=lambda context: (b"position", context.key("market"), context.key("user")),
        payer=payer,
        is_created_once=payer is not None,
        checks=checks,
    )


def owned_position(*checks: Check) -> Rule:
    """A position that must be there already; Anchor's `has_one = user` comes before the other checks."""
    return position((lambda c: position_of(c).user == c.key("user"), "ConstraintHasOne"), *checks)


def protocol_fee_wallet() -> Rule:
    """Where the protocol's share of a trade goes."""
    check: Check = (
        lambda c: c.key("protocol_fee_wallet") == config_of(c).protocol_fee_wallet,
        "Unauthorized",
    )
    return Rule("protocol_fee_wallet", is_writable=True, checks=(check,))


def signer(name: str, *checks: Check, is_writable: bool = False) -> Rule:
    """A wallet that must sign."""
    return Rule(name, is_signer=True, is_writable=is_writable, checks=checks)


def admin(is_writable: bool = False) -> Rule:
    """The protocol's admin."""
    return signer("admin", (lambda c: c.key("admin") == config_of(c).admin, "Unauthorized"), is_writable=is_writable)


def backend_authority() -> Rule:
    """The key that may write tallies; read-only, so somebody else may pay the fee."""
    check: Check = (lambda c: c.key("backend_authority") == config_of(c).backend_authority, "Unauthorized")
    return signer("backend_authority", check)
