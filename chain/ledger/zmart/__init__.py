"""zmart_core as the ledger runs it: the program's checks, effects, events and errors over raw account bytes.

It must never know who asks, what time it is outside the Clock it is given, or how accounts are stored.
Start with `markets.py`; `anchor.py` explains the order in which anything is refused.
"""

from __future__ import annotations

from typing import Literal

from chain.errors import Build
from chain.ledger.workspace import Frame, Program
from chain.ledger.zmart import config, markets
from chain.ledger.zmart.anchor import Instruction, dispatch

SellMode = Literal["intended", "faithful"]

_INSTRUCTIONS: tuple[Instruction, ...] = (
    config.INITIALIZE_GLOBAL_CONFIG,
    markets.CREATE_MARKET,
    markets.AGGREGATE_PROPOSAL_VOTES,
    markets.APPROVE_PROPOSAL,
    markets.CANCEL_MARKET,
    markets.ACTIVATE_MARKET,
)
_TABLE = {instruction.tag: instruction for instruction in _INSTRUCTIONS}


def zmart_core(build: Build = "new", sell_mode: SellMode = "intended") -> Program:  # noqa: ARG001
    """The program, ready to be placed at any address."""

    def run(frame: Frame) -> None:
        dispatch(frame, _TABLE)

    return run


__all__ = ["Build", "SellMode", "zmart_core"]
