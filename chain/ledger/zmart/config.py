"""Instructions about the protocol itself."""

from __future__ import annotations

from chain.ledger.borsh import KEY
from chain.ledger.zmart import rules
from chain.ledger.zmart.anchor import Context, Rule, instruction
from chain.ledger.zmart.events import event_line
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
    context.frame.log(
        event_line("GlobalConfigInitialized", config.admin, backend_authority, config.protocol_fee_bps, context.now_s)
    )


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
