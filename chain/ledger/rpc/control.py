"""The ledger's own methods: its clock."""

from __future__ import annotations

from chain.ledger.bank import Block
from chain.ledger.node import CLOCK_ADVANCE_S_MAX, Node
from chain.ledger.rpc.faults import invalid_params
from chain.ledger.rpc.params import Params, read_block


def get_clock(node: Node, params: Params) -> dict[str, int]:
    """The Clock sysvar's slot and Unix time at a commitment, `processed` by default."""
    return _clock(read_block(node, params.config(0), default="processed"))


def advance_clock(node: Node, params: Params) -> dict[str, int]:
    """Move the Clock forwards by whole seconds; a read at `confirmed` sees it one slot later, as any change."""
    seconds = params.number(0)
    if seconds > CLOCK_ADVANCE_S_MAX:
        raise invalid_params(f"Invalid params: at most {CLOCK_ADVANCE_S_MAX} seconds at once.")
    return _clock(node.advance_clock(seconds))


def _clock(block: Block) -> dict[str, int]:
    return {"slot": block.slot, "unixTimestamp": block.unix_s}


METHODS = {"zmart_getClock": get_clock, "zmart_advanceClock": advance_clock}
