"""Counting votes with exact integers (T6, T20; the number table of traps section 3)."""

from __future__ import annotations

import enum
from dataclasses import dataclass

BPS_WHOLE = 10_000


class VoteType(enum.StrEnum):
    """What a vote is about; uniqueness and tallies are per type (T3)."""

    PROPOSAL = "proposal"
    DISPUTE = "dispute"


YES_WORD = {VoteType.PROPOSAL: "like", VoteType.DISPUTE: "support"}
NO_WORD = {VoteType.PROPOSAL: "dislike", VoteType.DISPUTE: "reject"}


def choice_of(vote_type: VoteType, word: str) -> bool | None:
    """True for like or support, False for dislike or reject, None for any other word (T9)."""
    return {YES_WORD[vote_type]: True, NO_WORD[vote_type]: False}.get(word)


def word_of(vote_type: VoteType, choice: bool) -> str:
    """The specification's word for a choice."""
    return YES_WORD[vote_type] if choice else NO_WORD[vote_type]


@dataclass(frozen=True, slots=True)
class Tally:
    """Weights and headcounts of one vote type; weights of proposal votes are 1 each."""

    yes: int = 0
    no: int = 0
    yes_voters: int = 0
    no_voters: int = 0

    @property
    def total(self) -> int:
        """The sum of both weights."""
        return self.yes + self.no

    @property
    def voters(self) -> int:
        """How many wallets voted."""
        return self.yes_voters + self.no_voters

    @property
    def percentage_bps(self) -> int:
        """floor(yes * 10000 / total), and 0 for no votes at all; never a float (traps section 3)."""
        return self.yes * BPS_WHOLE // self.total if self.total else 0

    def meets(self, threshold_bps: int) -> bool:
        """Whether the share of yes reaches the threshold; no votes never do, not even a threshold of 0 (T20)."""
        return self.total > 0 and self.percentage_bps >= threshold_bps

    def plus(self, other: Tally) -> Tally:
        """Both tallies together."""
        return Tally(
            self.yes + other.yes,
            self.no + other.no,
            self.yes_voters + other.yes_voters,
            self.no_voters + other.no_voters,
        )

    def minus(self, other: Tally) -> Tally:
        """This tally without those votes; a difference of two tallies may be negative."""
        return Tally(
            self.yes - other.yes,
            self.no - other.no,
            self.yes_voters - other.yes_voters,
            self.no_voters - other.no_voters,
        )


def single(choice: bool, weight: int) -> Tally:
    """The tally of one vote."""
    return Tally(weight, 0, 1, 0) if choice else Tally(0, weight, 0, 1)
