"""The account rules zmart_core's instructions share (CI 3 and 6.1)."""

from __future__ import annotations

from chain.ledger.accounts import SYSTEM_PROGRAM
from chain.ledger.zmart.anchor import Check, Context, Rule
from chain.ledger.zmart.records import GlobalConfig, Market

SYSTEM = Rule("system_program", program=SYSTEM_PROGRAM)


def config_of(context: Context) -> GlobalConfig:
    """The GlobalConfig the instruction was given."""
    return context.record("global_config", GlobalConfig)


def market_of(context: Context) -> Market:
    """The market the instruction was given."""
    return context.record("market", Market)


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
