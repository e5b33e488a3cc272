"""What can be made to go wrong on purpose: which faults are on, and whether the next moment meets one.

Pure and seeded: the same settings and the same requests meet the same faults. Nothing here is kept over a restart.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator
from dataclasses import dataclass

DROP_SEND = "drop_send"
DELAY_SEND = "delay_send"
LOSE_ANSWER = "lose_answer"
RATE_LIMIT = "rate_limit"
LAG = "lag"
NULL_TRANSACTION = "null_transaction"
DROP_SLOT = "drop_slot"
WEBHOOK_LOSE = "webhook_lose"
WEBHOOK_DUPLICATE = "webhook_duplicate"
WEBHOOK_REORDER = "webhook_reorder"
TRUNCATE_LOGS = "truncate_logs"
FOREIGN_FRAME = "foreign_frame"

NAMES = (
    DROP_SEND,
    DELAY_SEND,
    LOSE_ANSWER,
    RATE_LIMIT,
    LAG,
    NULL_TRANSACTION,
    DROP_SLOT,
    WEBHOOK_LOSE,
    WEBHOOK_DUPLICATE,
    WEBHOOK_REORDER,
    TRUNCATE_LOGS,
    FOREIGN_FRAME,
)

FOREIGN_PROGRAM = hashlib.sha256(b"zmart ledger: a foreign program").digest()
"""The address of the program that seems to call ours under `foreign_frame`; no account is there."""
TRUNCATED_LOG_BYTES = 128
"""Room for an invoke line and the instruction's name, never for an event."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault that is on. `count` None has no end; `seconds` and `slots` mean what the fault's name makes of them."""

    name: str
    probability: float = 1.0
    count: int | None = None
    seconds: int | None = None
    slots: int | None = None
    slot: int | None = None
    seed: int = 0


@dataclass(slots=True)
class _Active:
    fault: Fault
    left: int | None
    dice: random.Random


class Faults:
    """The faults that are on, at most one of each name."""

    def __init__(self) -> None:
        self._active: dict[str, _Active] = {}

    def __iter__(self) -> Iterator[tuple[Fault, int | None]]:
        """Each fault that is on, with how often it will still strike."""
        return iter([(active.fault, active.left) for active in self._active.values()])

    def set(self, fault: Fault) -> None:
        """Turn a fault on, in place of an earlier one of its name; a count or probability of 0 turns it off."""
        assert fault.name in NAMES
        self._active.pop(fault.name, None)
        if fault.count != 0 and fault.probability > 0:
            dice = random.Random(fault.seed)  # noqa: S311 - repeatable on purpose, protects nothing
            self._active[fault.name] = _Active(fault, fault.count, dice)

    def clear(self) -> None:
        """Turn all off."""
        self._active.clear()

    def find(self, name: str) -> Fault | None:
        """The fault if it is on; it does not strike by that."""
        active = self._active.get(name)
        return active.fault if active else None

    def strike(self, name: str) -> Fault | None:
        """The fault if it strikes now; one that has struck `count` times is off."""
        active = self._active.get(name)
        if active is None or active.dice.random() >= active.fault.probability:
            return None
        if active.left is not None:
            active.left -= 1
            if not active.left:
                del self._active[name]
        return active.fault
