"""zmart_core as the ledger runs it: the program's checks, effects, events and errors over raw account bytes.

It must never know who asks, what time it is outside the Clock it is given, or how accounts are stored.
Start with `markets.py`; `anchor.py` explains the order in which anything is refused, `lmsr.py` what a share costs.
"""

from __future__ import annotations

from chain.errors import Build
from chain.ledger.workspace import Frame, Program
from chain.ledger.zmart import config, markets, payouts, resolution, trades, votes
from chain.ledger.zmart.anchor import Instruction, dispatch
from chain.ledger.zmart.trades import SellMode

_INSTRUCTIONS: tuple[Instruction, ...] = (
    config.INITIALIZE_GLOBAL_CONFIG,
    config.UPDATE_GLOBAL_CONFIG,
    config.EMERGENCY_PAUSE,
    markets.CREATE_MARKET,
    votes.SUBMIT_PROPOSAL_VOTE,
    markets.AGGREGATE_PROPOSAL_VOTES,
    markets.APPROVE_PROPOSAL,
    markets.CANCEL_MARKET,
    markets.ACTIVATE_MARKET,
    trades.BUY_SHARES,
    resolution.RESOLVE_MARKET,
    resolution.INITIATE_DISPUTE,
    votes.SUBMIT_DISPUTE_VOTE,
    votes.AGGREGATE_DISPUTE_VOTES,
    resolution.FINALIZE_MARKET,
    payouts.CLAIM_WINNINGS,
    payouts.WITHDRAW_LIQUIDITY,
)


def zmart_core(build: Build = "new", sell_mode: SellMode = "intended") -> Program:
    """The program, ready to be placed at any address; all 18 instructions."""
    table = {instruction.tag: instruction for instruction in (*_INSTRUCTIONS, trades.sell_shares(sell_mode))}

    def run(frame: Frame) -> None:
        dispatch(frame, table, build)

    return run


__all__ = ["Build", "SellMode", "zmart_core"]
