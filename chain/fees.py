"""What a transaction may cost: compute units from a simulation, a priority fee under a cap, a cap for the day.

Pure numbers: lamports, compute units, micro-lamports per unit.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

SIGNATURE_LAMPORTS = 5_000
UNITS_MAX = 1_400_000
"""A transaction's limit, and what it is simulated with (C4)."""
UNITS_UNKNOWN = 200_000
"""The runtime's default for one call, for a node that does not say what a simulation used."""
MARGIN_PERCENT = 110
"""The limit is what the simulation used and a tenth more (C4)."""
PERCENTILE = 75
"""Paying what three quarters of recent blocks asked for gets into the next ones."""
MICRO = 1_000_000


@dataclass(frozen=True, slots=True)
class FeeSettings:
    """Caps, in lamports."""

    priority_lamports_max: int = 50_000
    """Priority fee of one transaction."""
    day_lamports_max: int = 2_000_000_000
    """All fees of the transactions that were signed in the last 24 hours."""


@dataclass(frozen=True, slots=True)
class Fee:
    """What the first two instructions ask for."""

    units: int
    price_micro_lamports: int

    @property
    def lamports(self) -> int:
        """The most that the transaction costs: one signature and the priority fee, rounded up."""
        return SIGNATURE_LAMPORTS - (-self.units * self.price_micro_lamports // MICRO)


SIMULATED = Fee(UNITS_MAX, 0)
"""What a transaction carries while it is simulated."""


def fee_for(units_used: int | None, recent_prices: Sequence[int], settings: FeeSettings) -> Fee:
    """The fee of a transaction that used `units_used` in its simulation, where blocks asked for `recent_prices`."""
    units = min(-(-(units_used or UNITS_UNKNOWN) * MARGIN_PERCENT // 100), UNITS_MAX)
    price_max = settings.priority_lamports_max * MICRO // units
    return Fee(units, min(_percentile(recent_prices), price_max))


def _percentile(prices: Sequence[int]) -> int:
    if not prices:
        return 0
    return sorted(prices)[(len(prices) - 1) * PERCENTILE // 100]
