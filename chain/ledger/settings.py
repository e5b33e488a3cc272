"""What a ledger needs to know to run."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from chain.ledger.zmart import Build, SellMode
from chain.program import NEWEST_PROGRAM_ID

SLOT_MS = 400
"""A Solana slot (decisions B10)."""


@dataclass(frozen=True, slots=True)
class LedgerSettings:
    """Where the ledger lives and listens; port 0 takes any free one, and `slot_ms` 0 lets slots go by hand only."""

    data_dir: Path
    host: str = "127.0.0.1"
    rpc_port: int = 8899
    pubsub_port: int = 8900
    slot_ms: int = SLOT_MS
    program_id: str = NEWEST_PROGRAM_ID
    build: Build = "new"
    """Which build of zmart_core runs: they differ in error numbers and in WinningsClaimed (CI 7 and 8)."""
    sell_mode: SellMode = "intended"
    """`faithful` refuses every sale as the real runtime does (CI 6.2, 11); `intended` pays it out (CI 10.8)."""
