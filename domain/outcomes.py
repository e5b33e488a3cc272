"""What came of a command once its commit is durable; plain values that travel back between processes."""

from __future__ import annotations

from dataclasses import dataclass

from domain.refusals import Refusal
from domain.tally import Tally


@dataclass(frozen=True, slots=True)
class VoteTaken:
    """A `CastVote` that is stored; `tally` is that of its vote type right after the commit that took it.

    `sequence` is the vote's place in the log of its market and type, from 1; `leaf_hash` what stands there. A repeat
    with the same request_id has `replayed` set and carries the first one's `vote_id`, tally, sequence and leaf.
    """

    vote_id: str
    tally: Tally
    replayed: bool
    sequence: int
    leaf_hash: bytes


@dataclass(frozen=True, slots=True)
class Done:
    """Any other command that is carried out, now or before; `version` is the market's after the commit."""

    version: int


Outcome = VoteTaken | Done | Refusal
