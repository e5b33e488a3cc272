"""Instructions about the protocol itself."""

from __future__ import annotations

from chain.ledger.borsh import I64, KEY, U16, optional
from chain.ledger.zmart import rules
from chain.ledger.zmart.anchor import Context, Rule, instruction
from chain.ledger.zmart.lmsr import BPS
from chain.ledger.zmart.records import GlobalConfig


def _initialize(context: Context) -> None:
    (backend_authority,) = context.args
    config = rules.config_of(context)
    config.admin = context.key("admin")
    config.backend_authority = backend_authority
    config.protocol_fee_wallet = context.key("protocol_fee_wallet")
    config.protocol_fee_bps = 300
    config.resolver_reward_bps = 200
    config.liquidity_provider_fee_bps = 500
    config.proposal_approval_threshold = 7_000
    config.dispute_success_threshold = 6_000
    config.min_resolution_delay = 86_400
    config.dispute_period = 259_200
    config.min_resolver_reputation = 8_000
    config.bump = context.bump("global_config")
    context.emit("GlobalConfigInitialized", config.admin, backend_authority, config.protocol_fee_bps, context.now_s)


INITIALIZE_GLOBAL_CONFIG = instruction(
    "initialize_global_config",
    [KEY],
    [
        rules.signer("admin", is_writable=True),
        Rule(
            "global_config",
            is_writable=True,
            record=GlobalConfig,
            seeds=lambda _: (b"global-config",),
            payer="admin",
        ),
        Rule("protocol_fee_wallet"),
        rules.SYSTEM,
    ],
    _initialize,
)


def _update(context: Context) -> None:
    fees, thresholds, periods = context.args[:3], context.args[3:5], context.args[5:]
    context.require(sum(fees) <= BPS, "InvalidFeeStructure")
    context.require(all(threshold <= BPS for threshold in thresholds), "InvalidThreshold")
    context.require(all(period is None or period > 0 for period in periods), "InvalidTimeLimit")
    config = rules.config_of(context)
    config.protocol_fee_bps, config.resolver_reward_bps, config.liquidity_provider_fee_bps = fees
    config.proposal_approval_threshold, config.dispute_success_threshold = thresholds
    delay, window = periods
    config.min_resolution_delay = config.min_resolution_delay if delay is None else delay
    config.dispute_period = config.dispute_period if window is None else window
    context.emit("ConfigUpdated", *fees, *thresholds, config.min_resolution_delay, config.dispute_period, context.now_s)


UPDATE_GLOBAL_CONFIG = instruction(
    "update_global_config",
    [U16, U16, U16, U16, U16, optional(I64), optional(I64)],
    [rules.admin(), rules.config(is_writable=True)],
    _update,
)


def _pause(context: Context) -> None:
    config = rules.config_of(context)
    config.is_paused = not config.is_paused
    context.emit("ProtocolPauseStatusChanged", config.is_paused, context.key("admin"), context.now_s)


EMERGENCY_PAUSE = instruction("emergency_pause", [], [rules.admin(), rules.config(is_writable=True)], _pause)
