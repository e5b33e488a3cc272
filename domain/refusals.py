"""Why a command is not done: sentences about the world, never errors of ours.

Precedence for a vote: TooManyAttempts, MarketNotFound, RequestIdReused, WrongState, VotingClosing, AlreadyVoted.
A repeat with the same request_id is answered as the first time before any of them but the first. NoPosition is found
before the vote goes to its market, by whoever looks up the weight; it comes after MarketNotFound and WrongState.
"""

from __future__ import annotations

from dataclasses import dataclass

from domain.ids import MarketId
from domain.lifecycle import Lifecycle


@dataclass(frozen=True, slots=True)
class MarketNotFound:
    """No such market here; the caller may look on chain and adopt it."""

    market_id: MarketId


@dataclass(frozen=True, slots=True)
class WrongState:
    """The market is in `actual`, this needs `wanted`."""

    market_id: MarketId
    actual: Lifecycle
    wanted: Lifecycle


@dataclass(frozen=True, slots=True)
class VotingClosing:
    """The tallies are on their way to the chain and take no more votes (decisions P2)."""

    market_id: MarketId


@dataclass(frozen=True, slots=True)
class AlreadyVoted:
    """This wallet has voted on this market and type."""

    market_id: MarketId


@dataclass(frozen=True, slots=True)
class NoPosition:
    """A dispute is voted on with shares, and this wallet has none in the market (T8, CI D17)."""

    market_id: MarketId


@dataclass(frozen=True, slots=True)
class RequestIdReused:
    """The same request_id came with another body."""

    market_id: MarketId
    request_id: str


@dataclass(frozen=True, slots=True)
class TooManyAttempts:
    """This wallet was refused too often on this market; it may try again after `retry_after_s` (T4)."""

    market_id: MarketId
    retry_after_s: int


@dataclass(frozen=True, slots=True)
class IllegalTransition:
    """No instruction that an operator may ask for leads from `actual` to `wanted` (CI 9)."""

    market_id: MarketId
    actual: Lifecycle
    wanted: Lifecycle


@dataclass(frozen=True, slots=True)
class KeyNeeded:
    """The instruction is legal, and this backend does not hold the key that it needs; `key` names it."""

    market_id: MarketId
    instruction: str
    key: str


@dataclass(frozen=True, slots=True)
class TransitionNotDue:
    """The instruction would have no effect or the wrong one now; `why` is a sentence about the world."""

    market_id: MarketId
    instruction: str
    why: str


@dataclass(frozen=True, slots=True)
class NotTheCreator:
    """Only the creator's wallet or the admin tier may describe a market."""

    market_id: MarketId


@dataclass(frozen=True, slots=True)
class AlreadyInState:
    """Nothing would change; callers treat it as done."""

    market_id: MarketId


Refusal = (
    MarketNotFound
    | TooManyAttempts
    | WrongState
    | VotingClosing
    | AlreadyVoted
    | NoPosition
    | RequestIdReused
    | IllegalTransition
    | KeyNeeded
    | TransitionNotDue
    | NotTheCreator
    | AlreadyInState
)
