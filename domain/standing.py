"""What a market's actor says of itself when an operator asks; asking changes nothing and is no command."""

from __future__ import annotations

from dataclasses import dataclass

from domain.deadlines import Deadline
from domain.ids import MarketId
from domain.market import Market


@dataclass(frozen=True, slots=True)
class AskStanding:
    """How does this market's actor stand?"""

    market_id: MarketId


@dataclass(frozen=True, slots=True)
class LastDecision:
    """What an actor decided last: commands and what came of them, by their names in `domain`."""

    commands: tuple[str, ...]
    results: tuple[str, ...]
    at_s: int
    """Unix seconds, by the wall clock of its process."""

    @property
    def words(self) -> str:
        """The decision as a sentence without a verb."""
        return f"{', '.join(self.commands)}: {', '.join(self.results) or 'nothing to do'}"


@dataclass(frozen=True, slots=True)
class AwaitedDeadline:
    """A deadline and why it was set: `tick`, `window_end` or `retry`."""

    kind: str
    deadline: Deadline


@dataclass(frozen=True, slots=True)
class ActorStanding:
    """The actor's memory, or what the journal holds of a market that sleeps (`is_active` False, no decision)."""

    market: Market
    deadlines: tuple[AwaitedDeadline, ...]
    is_active: bool
    last_decision: LastDecision | None
    slot: str
    """The place of the shard process that answered, with its host, pid and epoch."""
    host: str
    pid: int
    epoch: int
    mailbox: int
    """Commands for this market in the batch that brought the question."""
