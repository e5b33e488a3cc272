"""The life of a market as the chain enforces it (CI 5 and CI 9, T84)."""

from __future__ import annotations

import enum
from dataclasses import dataclass


class Lifecycle(enum.IntEnum):
    """A market's state; the number is the byte in the on-chain account."""

    PROPOSED = 0
    APPROVED = 1
    ACTIVE = 2
    RESOLVING = 3
    DISPUTED = 4
    FINALIZED = 5
    CANCELLED = 6


class Signer(enum.Enum):
    """Whose key a transition needs."""

    ANYONE = "anyone"
    ADMIN = "admin"
    ADMIN_OR_CREATOR = "admin or creator"
    BACKEND = "backend authority"


@dataclass(frozen=True, slots=True)
class Edge:
    """One legal transition: the instruction that makes it and the key that signs it."""

    before: Lifecycle
    after: Lifecycle
    instruction: str
    signer: Signer


EDGES: tuple[Edge, ...] = (
    Edge(Lifecycle.PROPOSED, Lifecycle.APPROVED, "approve_proposal", Signer.ADMIN),
    Edge(Lifecycle.PROPOSED, Lifecycle.CANCELLED, "cancel_market", Signer.ADMIN),
    Edge(Lifecycle.APPROVED, Lifecycle.CANCELLED, "cancel_market", Signer.ADMIN),
    Edge(Lifecycle.APPROVED, Lifecycle.ACTIVE, "activate_market", Signer.ADMIN_OR_CREATOR),
    Edge(Lifecycle.ACTIVE, Lifecycle.RESOLVING, "resolve_market", Signer.ANYONE),
    Edge(Lifecycle.RESOLVING, Lifecycle.DISPUTED, "initiate_dispute", Signer.ANYONE),
    Edge(Lifecycle.RESOLVING, Lifecycle.FINALIZED, "finalize_market", Signer.BACKEND),
    Edge(Lifecycle.DISPUTED, Lifecycle.FINALIZED, "finalize_market", Signer.BACKEND),
    Edge(Lifecycle.DISPUTED, Lifecycle.FINALIZED, "aggregate_dispute_votes", Signer.BACKEND),
    Edge(Lifecycle.DISPUTED, Lifecycle.RESOLVING, "aggregate_dispute_votes", Signer.BACKEND),
)

TERMINAL = frozenset({Lifecycle.FINALIZED, Lifecycle.CANCELLED})

_STEPS: dict[Lifecycle, frozenset[Lifecycle]] = {
    state: frozenset(edge.after for edge in EDGES if edge.before is state) for state in Lifecycle
}


def successors(state: Lifecycle) -> frozenset[Lifecycle]:
    """States one instruction away from `state`."""
    return _STEPS[state]


def reachable(before: Lifecycle, after: Lifecycle) -> bool:
    """Whether one or more legal instructions lead from `before` to `after`.

    An observer that reads the account only now and then skips states, so several steps at once are legal too.
    """
    seen: set[Lifecycle] = set()
    frontier = set(_STEPS[before])
    while frontier:
        seen |= frontier
        frontier = {step for state in frontier for step in _STEPS[state]} - seen
    return after in seen
