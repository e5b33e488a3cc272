"""What came of a command once its commit is durable; plain values that travel back between processes."""

from __future__ import annotations

from dataclasses import dataclass

from domain.refusals import Refusal
from domain.tally import Tally


@dataclass(frozen=True, slots=True)
class VoteTaken:
    """A `CastVote` that is stored; `tally` is that of its vote type right after the commit that took it.

    A repeat with the same request_id has `replayed` set and carries the first one's `vote_id` and tally.
    """

    vote_id: str
    tally: Tally
    replayed: bool


@dataclass(frozen=True, slots=True)
class Done:
    """Any other command that changed the market; `version` is the market's after the commit."""

    version: int


Outcome = VoteTaken | Done | Refusal
