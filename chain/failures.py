"""A failed transaction in one name: what solders' error objects and a node's log lines say about it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from solders.transaction_status import InstructionErrorCustom, TransactionErrorInstructionError

from chain.errors import error_name

PASSING = frozenset(
    {
        "AccountInUse",
        "BlockhashNotFound",
        "ClusterMaintenance",
        "WouldExceedAccountDataBlockLimit",
        "WouldExceedMaxAccountCostLimit",
        "WouldExceedMaxBlockCostLimit",
        "WouldExceedMaxVoteCostLimit",
    }
)
"""Transaction errors that say "not now": the same bytes may land a moment later (C4)."""

ALREADY_PROCESSED = "AlreadyProcessed"


def failure_name(err: Any, logs: Sequence[str]) -> str:
    """The name of a transaction error: the program's own where there is one, else the runtime's word."""
    if isinstance(err, TransactionErrorInstructionError):
        inner = err.err
        custom = inner.code if isinstance(inner, InstructionErrorCustom) else None
        return error_name(custom, logs, _word(inner))
    return _word(err)


def _word(err: Any) -> str:
    """`InsufficientFundsForFee` from a fieldless variant, `InsufficientFundsForRent` from a class with fields."""
    text = str(err)
    if "." in text and " " not in text:
        return text.rsplit(".", 1)[-1]
    return type(err).__name__.removeprefix("TransactionError").removeprefix("InstructionError")
