"""The request `getRecentPrioritizationFees` and its answer, which solders does not have; same shape as solders' own."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from solders.errors import SerdeJSONError
from solders.pubkey import Pubkey
from solders.rpc.responses import GetSlotResp

ACCOUNTS_MAX = 128
"""Accounts in one request, the node's own limit."""


class GetRecentPrioritizationFees:
    """Asks what recent blocks took from transactions that write to all of `accounts`."""

    def __init__(self, accounts: Sequence[Pubkey]) -> None:
        self._accounts = [str(account) for account in accounts[:ACCOUNTS_MAX]]

    def to_json(self) -> str:
        """The body of the request."""
        method = "getRecentPrioritizationFees"
        return json.dumps({"jsonrpc": "2.0", "id": 0, "method": method, "params": [self._accounts]})


@dataclass(frozen=True, slots=True)
class RecentPrioritizationFees:
    """Micro-lamports per compute unit, one price for each recent block, oldest first."""

    prices: tuple[int, ...]

    @classmethod
    def from_json(cls, text: str) -> Any:
        """The answer, or solders' object of a JSON-RPC error; raises `SerdeJSONError` for anything else."""
        try:
            answer = json.loads(text)
            if "error" in answer:
                return GetSlotResp.from_json(text)
            return cls(tuple(int(item["prioritizationFee"]) for item in answer["result"]))
        except (ValueError, KeyError, TypeError) as fault:
            raise SerdeJSONError(f"not an answer to getRecentPrioritizationFees: {fault}") from fault
