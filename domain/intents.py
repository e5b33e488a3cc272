"""What the backend means to do on chain; an intent never changes a market, only the chain's answer does (T16, H7)."""

from __future__ import annotations

import enum
from dataclasses import dataclass

from domain.ids import MarketId
from domain.observed import ObservedMarket


class Action(enum.StrEnum):
    """An instruction this backend may send about a market (CI 6)."""

    AGGREGATE_PROPOSAL = "aggregate_proposal_votes"
    APPROVE = "approve_proposal"


class IntentStatus(enum.StrEnum):
    """A transaction's way: PLANNED, SIGNED, SENT, then CONFIRMED and FINALIZED, or FAILED, or EXPIRED."""

    PLANNED = "planned"
    SIGNED = "signed"
    SENT = "sent"
    CONFIRMED = "confirmed"
    FINALIZED = "finalized"
    FAILED = "failed"
    EXPIRED = "expired"


OPEN_STATUSES = frozenset({IntentStatus.PLANNED, IntentStatus.SIGNED, IntentStatus.SENT})
"""Statuses in which an attempt may still land; one such attempt per market and action."""


@dataclass(frozen=True, slots=True)
class Intent:
    """One attempt at one action: `yes` and `no` are the u32 pair for an aggregation, 0 otherwise."""

    intent_id: str
    market_id: MarketId
    action: Action
    attempt: int
    yes: int = 0
    no: int = 0


@dataclass(frozen=True, slots=True)
class Settlement:
    """How an attempt ended, with the account as read afterwards (None when the read found no account)."""

    intent: Intent
    status: IntentStatus
    signature: str | None
    slot: int | None
    error_name: str | None
    observed: ObservedMarket | None


@dataclass(frozen=True, slots=True)
class StoredTransaction:
    """An intent with what is kept of its transaction; the last three are None until it is signed."""

    intent: Intent
    status: IntentStatus
    raw: bytes | None
    signature: str | None
    last_valid_block_height: int | None
