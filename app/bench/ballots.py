"""Votes without end, no two of one wallet on one market, made as fast as they are sent."""

from __future__ import annotations

import itertools
import json
import secrets
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

_STRIDES = (7_919, 104_729)
"""Primes that divide no number of markets in use: every wallet meets every market once, in no order to speak of."""


class VotesUsedUp(Exception):
    """Every wallet has voted on every market; take more wallets or less time."""


@dataclass(frozen=True, slots=True)
class Voters:
    """Who votes on what; `tokens` are in the order of `wallets`, and empty where none are needed."""

    markets: Sequence[str]
    wallets: Sequence[str]
    tokens: Sequence[str] = ()

    @property
    def count(self) -> int:
        """Votes there can be."""
        return len(self.markets) * len(self.wallets)

    def ballots(self, first: int) -> Iterator[tuple[int, str, str, str]]:
        """From number `first` on: the wallet's place, the market, the word and a request_id. Raises VotesUsedUp."""
        name = secrets.token_hex(10)
        run = f"{name[:8]}-{name[8:12]}-4{name[12:15]}-8{name[15:18]}"
        markets, wallets = len(self.markets), len(self.wallets)
        for number in itertools.count(first):
            turn, wallet = divmod(number, wallets)
            if turn >= markets:
                raise VotesUsedUp(f"{number} votes by {wallets} wallets on {markets} markets")
            market = self.markets[(turn * _STRIDES[0] + wallet * _STRIDES[1]) % markets]
            yield wallet, market, "like" if number % 2 else "dislike", f"{run}-{number:012x}"


@dataclass(frozen=True, slots=True)
class Plan:
    """What one process shall send."""

    host: str
    port: int
    first: int
    """The number of its first vote."""
    at_once: int
    warm_s: float
    seconds: float
    service_key: str = ""
    """For votes in bulk."""
    database_url: str = ""
    """For a baseline that has no server of ours before it."""

    def write(self, folder: Path, voters: Voters) -> None:
        """Put plan and voters where the process reads them."""
        (folder / "plan.json").write_text(json.dumps([asdict(self), asdict(voters)]))


def read_plan(folder: Path) -> tuple[Plan, Voters]:
    """What `Plan.write` wrote."""
    plan, voters = json.loads((folder / "plan.json").read_text())
    return Plan(**plan), Voters(**voters)
